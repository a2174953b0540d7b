//! `operations`: what can be run, and on what items.

use crate::columns::Columns;
use crate::ending::Ending;
use crate::error::Error;
use crate::operation_kind::OperationKind;
use batchwright::loyalty::FieldKind;
use serde::Serialize;
use std::io::Write;

/// An operation in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationDocument {
    name: &'static str,
    /// Its name in the published batch API.
    published_name: &'static str,
    about: &'static str,
    /// Empty: an item is a text.
    fields: Vec<FieldDocument>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FieldDocument {
    /// With dots when it is inside others; so it is the name of a column, too.
    name: &'static str,
    required: bool,
    /// What a value is, for people.
    expected: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<&'static [&'static str]>,
}

pub(crate) fn operations(
    name: Option<&str>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let one = name.map(OperationKind::asked_for).transpose()?;
    let kinds = OperationKind::ALL.iter().copied();
    let kinds = kinds.filter(|kind| one.is_none_or(|one| one == *kind));
    if json {
        let documents: Vec<_> = kinds.map(document).collect();
        writeln!(out, "{}", serde_json::to_string(&documents)?)?;
        return Ok(Ending::Clean);
    }
    for (index, kind) in kinds.enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        write_operation(kind, out)?;
    }
    Ok(Ending::Clean)
}

fn document(kind: OperationKind) -> OperationDocument {
    let fields = kind.fields().iter().map(|field| FieldDocument {
        name: field.name,
        required: field.required,
        expected: field.kind.expected(),
        choices: match field.kind {
            FieldKind::Choice(choices) => Some(choices),
            _ => None,
        },
    });
    OperationDocument {
        name: kind.name(),
        published_name: kind.published_name(),
        about: kind.about(),
        fields: fields.collect(),
    }
}

fn write_operation(kind: OperationKind, out: &mut dyn Write) -> Result<(), Error> {
    let alias = match kind.published_name() {
        published if published == kind.name() => String::new(),
        published => format!(" (or {published})"),
    };
    writeln!(out, "{}{alias}: {}", kind.name(), kind.about())?;
    let mut columns = Columns::unnamed(&["", ""]);
    for field in kind.fields() {
        let mark = if field.required { "*" } else { "" };
        columns.row(&[format!("  {}{mark}", field.name), field.kind.expected()]);
    }
    columns.write(out)?;
    Ok(())
}
