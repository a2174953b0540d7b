//! Tables for people: columns that line up, no lines, no colours, so that they are the same in a pipe.

use comfy_table::{CellAlignment, Table, presets};
use std::io::{self, Write};

#[derive(Debug)]
pub(crate) struct Columns {
    table: Table,
}

impl Columns {
    /// With these headings; those of columns of numbers begin with `>`.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut columns = Self::unnamed(headings);
        columns.table.set_header(
            headings
                .iter()
                .map(|heading| heading.trim_start_matches('>')),
        );
        columns
    }

    /// Without headings; `alignments` has a text a column, which begins with `>` for numbers.
    pub(crate) fn unnamed(alignments: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(alignments.iter().map(|_| ""));
        for (index, alignment) in alignments.iter().enumerate() {
            let Some(column) = table.column_mut(index) else {
                continue;
            };
            column.set_padding((if index == 0 { 0 } else { 1 }, 1));
            if alignment.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { table }
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        // A line break would tear the table, and others would do things to a terminal.
        let plain = |cell: &String| cell.replace(char::is_control, " ");
        self.table.add_row(cells.iter().map(plain));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for line in self.table.lines() {
            let line = line.trim_end();
            if !line.is_empty() {
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }
}

/// What a table shows of something that may not be there.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let mut columns = Columns::new(&["NAME", ">N"]);
        columns.row(&["ada".to_owned(), "7".to_owned()]);
        columns.row(&["bo\nb".to_owned(), "12".to_owned()]);
        let mut out = Vec::new();
        columns.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME   N\nada    7\nbo b  12\n"
        );
    }
}
