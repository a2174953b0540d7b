//! The header of a table: which column is which field, and the JSON that a row becomes with it.

use super::cell::{write_cell, write_text};
use super::csv_rows::Cells;
use super::error::{Problem, shown};
use super::limits::COMPARED_BYTES;
use batchwright::loyalty::{Field, FieldKind};
use thiserror::Error;

/// The only column of items that are plain texts, all of which are order ids.
const ORDER_ID: KnownField = KnownField {
    name: "orderId",
    kind: FieldKind::Text,
    required: true,
};

/// A field that may be a column.
#[derive(Debug, Clone, Copy)]
struct KnownField {
    name: &'static str,
    kind: FieldKind,
    required: bool,
}

/// What is wrong with a header.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum ColumnError {
    #[error("column {} is not known{hint}; columns may be {known}", shown(.name))]
    Unknown {
        name: String,
        /// The field that may be meant, or the character that may stand for the comma.
        hint: String,
        known: String,
    },

    #[error("column {number} has no name; columns may be {known}")]
    Unnamed { number: usize, known: String },

    #[error("column \"{name}\" is there twice, expected once; columns may be {known}")]
    Repeated { name: &'static str, known: String },

    #[error("column \"{inner}\" is a part of column \"{outer}\", expected one of both")]
    Overlapping {
        outer: &'static str,
        inner: &'static str,
    },

    #[error("required columns are missing: {names}")]
    Missing { names: String },
}

/// The columns of a table.
pub(super) struct Columns {
    count: usize,
    shape: Shape,
}

enum Shape {
    /// Items are the texts of the only column.
    Text,
    Object(Vec<Member>),
}

struct Member {
    name: &'static str,
    value: Value,
}

enum Value {
    Cell { column: usize, kind: FieldKind },
    Object(Vec<Member>),
}

impl Columns {
    /// `fields` are those of the items; empty when they are plain texts. Spaces around a name do not count.
    pub(super) fn new(names: Cells<'_>, fields: &[Field]) -> Result<Self, ColumnError> {
        let known: Vec<KnownField> = fields.iter().map(KnownField::from).collect();
        if known.is_empty() {
            find(names, &[ORDER_ID])?;
            let shape = Shape::Text;
            return Ok(Self { count: 1, shape });
        }
        let columns = find(names, &known)?;
        let mut members = Vec::new();
        for (column, field) in columns.iter().enumerate() {
            insert(&mut members, field.name, column, field.kind);
        }
        Ok(Self {
            count: columns.len(),
            shape: Shape::Object(members),
        })
    }

    /// The item that a row is.
    pub(super) fn item(&self, row: Cells<'_>) -> Result<String, Problem> {
        if row.len() != self.count {
            return Err(Problem::CellCount {
                found: row.len(),
                expected: self.count,
            });
        }
        let mut json = String::new();
        match &self.shape {
            Shape::Text => write_text(&mut json, row.cell(0)),
            Shape::Object(members) => {
                write_object(&mut json, members, row);
            }
        }
        Ok(json)
    }
}

impl From<&Field> for KnownField {
    fn from(field: &Field) -> Self {
        Self {
            name: field.name,
            kind: field.kind,
            required: field.required,
        }
    }
}

/// The fields that the columns are, in their order.
fn find(names: Cells<'_>, known: &[KnownField]) -> Result<Vec<KnownField>, ColumnError> {
    let mut columns: Vec<KnownField> = Vec::new();
    for (number, name) in (1..).zip(names.iter()) {
        let name = name.trim();
        if name.is_empty() {
            let known = list(known.iter());
            return Err(ColumnError::Unnamed { number, known });
        }
        let Some(field) = known.iter().find(|field| field.name == name) else {
            return Err(unknown(name, known));
        };
        if let Some(other) = columns
            .iter()
            .find(|column| is_about(column.name, field.name))
        {
            return Err(overlap(other.name, field.name, known));
        }
        columns.push(*field);
    }
    let is_missing = |field: &&KnownField| {
        let is_column = |column: &KnownField| is_about(column.name, field.name);
        field.required && !columns.iter().any(is_column)
    };
    let missing = list(known.iter().filter(is_missing));
    if missing.is_empty() {
        Ok(columns)
    } else {
        Err(ColumnError::Missing { names: missing })
    }
}

/// Whether the two are one field, or one is inside of the other.
fn is_about(one: &str, other: &str) -> bool {
    one == other || is_inside(one, other) || is_inside(other, one)
}

fn is_inside(inner: &str, outer: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.starts_with('.'))
}

fn overlap(one: &'static str, other: &'static str, known: &[KnownField]) -> ColumnError {
    let (outer, inner) = if one.len() < other.len() {
        (one, other)
    } else {
        (other, one)
    };
    if outer == inner {
        let known = list(known.iter());
        return ColumnError::Repeated { name: one, known };
    }
    ColumnError::Overlapping { outer, inner }
}

fn unknown(name: &str, known: &[KnownField]) -> ColumnError {
    let hint = match (name.find(['\t', ';', '|']), closest(name, known)) {
        (Some(_), _) => " (are the columns separated by something else than commas?)".to_owned(),
        (None, Some(field)) => format!(" (is \"{field}\" meant?)"),
        (None, None) => String::new(),
    };
    ColumnError::Unknown {
        // No more of it than is shown.
        name: name.chars().take(COMPARED_BYTES).collect(),
        hint,
        known: list(known.iter()),
    }
}

/// The field whose name is most like this one, if any is.
fn closest(name: &str, known: &[KnownField]) -> Option<&'static str> {
    if name.len() > COMPARED_BYTES {
        return None;
    }
    let name = folded(name);
    let candidates = known.iter().flat_map(|field| {
        // Whoever forgets the outer name still means the field.
        let last = field.name.rsplit('.').next().unwrap_or(field.name);
        [(field.name, field.name), (field.name, last)]
    });
    candidates
        .map(|(field, written)| (strsim::osa_distance(&name, &folded(written)), field))
        .filter(|(distance, _)| *distance <= name.chars().count() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, field)| field)
}

/// `customer_id`, `Customer ID` and `customerId` are one.
fn folded(name: &str) -> String {
    let letters = name
        .chars()
        .filter(|letter| !matches!(letter, '_' | '-' | ' '));
    letters.flat_map(char::to_lowercase).collect()
}

fn list<'a>(fields: impl Iterator<Item = &'a KnownField>) -> String {
    fields
        .map(|field| field.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Puts a column into the object that a row becomes, under its name without the names around it.
fn insert(members: &mut Vec<Member>, name: &'static str, column: usize, kind: FieldKind) {
    let Some((outer, inner)) = name.split_once('.') else {
        let value = Value::Cell { column, kind };
        members.push(Member { name, value });
        return;
    };
    for member in members.iter_mut() {
        if let Value::Object(members) = &mut member.value
            && member.name == outer
        {
            return insert(members, inner, column, kind);
        }
    }
    let mut inside = Vec::new();
    insert(&mut inside, inner, column, kind);
    members.push(Member {
        name: outer,
        value: Value::Object(inside),
    });
}

/// Writes the cells that are not empty, and says whether there is one.
fn write_object(json: &mut String, members: &[Member], row: Cells<'_>) -> bool {
    json.push('{');
    let empty = json.len();
    for member in members {
        let before = json.len();
        if before > empty {
            json.push(',');
        }
        write_text(json, member.name);
        json.push(':');
        if !write_value(json, &member.value, row) {
            json.truncate(before);
        }
    }
    let has_members = json.len() > empty;
    json.push('}');
    has_members
}

fn write_value(json: &mut String, value: &Value, row: Cells<'_>) -> bool {
    match value {
        Value::Object(members) => write_object(json, members, row),
        Value::Cell { column, kind } => {
            let cell = row.cell(*column);
            if !cell.is_empty() {
                write_cell(json, *kind, cell);
            }
            !cell.is_empty()
        }
    }
}
