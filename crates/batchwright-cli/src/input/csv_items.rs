//! The items of a table: a header with the names of fields, and a row for each item.

use super::RawItem;
use super::columns::Columns;
use super::csv_rows::CsvRows;
use super::error::{InputError, Part};
use super::lookahead::Lookahead;
use batchwright::loyalty::Field;
use std::io::Read;

/// Reads items row by row. A row that is no item leaves the others as they are.
pub(super) struct CsvItems<R> {
    rows: CsvRows<R>,
    columns: Columns,
}

impl<R: Read> CsvItems<R> {
    /// Reads the header.
    pub(super) fn new(text: Lookahead<R>, fields: &[Field]) -> Result<Self, InputError> {
        let part = Part::Header;
        let mut rows = CsvRows::new(text);
        let header = rows.next(part)?.ok_or(InputError::Empty)?;
        let line = header.line;
        let names = header.cells().map_err(|problem| InputError::Document {
            line,
            part,
            problem,
        })?;
        let columns = Columns::new(names, fields);
        let columns = columns.map_err(|error| InputError::Columns { line, error })?;
        Ok(Self { rows, columns })
    }

    /// The next item; `None` when the file has ended.
    pub(super) fn next(&mut self) -> Result<Option<RawItem>, InputError> {
        let Some(row) = self.rows.next(Part::Row)? else {
            return Ok(None);
        };
        let line = row.line;
        let json = row.cells().and_then(|cells| self.columns.item(cells));
        let json = json.map_err(|problem| InputError::Item { line, problem })?;
        Ok(Some(RawItem { json, line }))
    }

    pub(super) fn into_text(self) -> Lookahead<R> {
        self.rows.into_text()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_readers::Pieces;
    use super::*;
    use batchwright::loyalty::{CashbackItem, CustomerItem, Fields, OrderId, OrderItem};

    type Found = Result<Vec<Result<(u64, String), String>>, String>;

    fn read_from(reader: impl Read, fields: &[Field]) -> Found {
        let text = Lookahead::new(reader).unwrap();
        let mut items = CsvItems::new(text, fields).map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        loop {
            match items.next() {
                Ok(None) => return Ok(found),
                Ok(Some(item)) => found.push(Ok((item.line, item.json))),
                Err(error) if error.is_of_one_item() => found.push(Err(error.to_string())),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn read(bytes: &[u8], fields: &[Field]) -> Found {
        let whole = read_from(bytes, fields);
        assert_eq!(read_from(Pieces::of_one_byte(bytes), fields), whole);
        whole
    }

    fn ok(line: u64, json: &str) -> Result<(u64, String), String> {
        Ok((line, json.to_owned()))
    }

    const REQUIRED: &str = "customerId,transactionId,transactionTime,amount";

    #[track_caller]
    fn header_refused(header: &str, expected: &str) {
        let found = read(format!("\n{header}\n1\n").as_bytes(), CashbackItem::FIELDS);
        assert_eq!(found.unwrap_err(), expected);
    }

    #[test]
    fn a_row_becomes_the_item_that_its_header_says() {
        for line_end in ["\n", "\r\n"] {
            let text = "\u{feff}customerId, amount ,transactionTime,configurations.returnWindow,transactionId,merchant\n\
                        ada,150.750,2025-03-14T10:00:00Z,14,t-1,\"{\"\"name\"\":\n\"\"M\"\"}\"\n\n\
                        \"b,ob\",,,,t-2,\n"
                .replace('\n', line_end);
            let first = "{\"customerId\":\"ada\",\"amount\":150.750,\"transactionTime\":\"2025-03-14T10:00:00Z\",\
                         \"configurations\":{\"returnWindow\":14},\"transactionId\":\"t-1\",\"merchant\":{\"name\":\n\"M\"}}"
                .replace('\n', line_end);
            let second = r#"{"customerId":"b,ob","transactionId":"t-2"}"#;
            let expected = vec![ok(2, &first), ok(5, second)];
            assert_eq!(read(text.as_bytes(), CashbackItem::FIELDS), Ok(expected));
        }
    }

    #[test]
    fn fields_of_one_object_come_together_wherever_their_columns_are() {
        let text = "customerAttributes.city,customerId,customerAttributes.totalOrders\nRoma,ada,3\n,bob,\n";
        let expected = vec![
            ok(
                2,
                r#"{"customerAttributes":{"city":"Roma","totalOrders":3},"customerId":"ada"}"#,
            ),
            ok(3, r#"{"customerId":"bob"}"#),
        ];
        assert_eq!(read(text.as_bytes(), CustomerItem::FIELDS), Ok(expected));
    }

    #[test]
    fn fields_of_different_objects_stay_apart() {
        let text = "customerId,redemption.pointsHoldReference,cashbackConfigurations.returnWindow,orderId,orderDate,\
                    totalPaid\nada,h-1,14,o-1,,5\n";
        let json = "{\"customerId\":\"ada\",\"redemption\":{\"pointsHoldReference\":\"h-1\"},\
                    \"cashbackConfigurations\":{\"returnWindow\":14},\"orderId\":\"o-1\",\"totalPaid\":5}";
        let found = read(text.as_bytes(), OrderItem::FIELDS);
        assert_eq!(found, Ok(vec![ok(2, json)]));
    }

    #[test]
    fn items_that_are_texts_have_one_column() {
        let read = |bytes| read(bytes, OrderId::FIELDS);
        let expected = vec![ok(2, r#""o-1""#), ok(3, r#""o\"2""#), ok(5, r#""""#)];
        assert_eq!(read(b"orderId\no-1\n\"o\"\"2\"\n\n\"\"\n"), Ok(expected));
        let unknown = "line 1: column \"orderid\" is not known (is \"orderId\" meant?); columns may be orderId";
        assert_eq!(read(b"orderid\no-1"), Err(unknown.to_owned()));
        assert!(read(b"orderId,orderId\no-1,o-2").is_err());
    }

    #[test]
    fn a_row_with_another_number_of_cells_is_told_and_the_next_one_is_read() {
        let text = format!("{REQUIRED}\na,b\nada,t,,\na,b,c,d,e\n");
        let expected = vec![
            Err("line 2: found 2 cells, expected 4, as in the header".to_owned()),
            ok(3, r#"{"customerId":"ada","transactionId":"t"}"#),
            Err("line 4: found 5 cells, expected 4, as in the header".to_owned()),
        ];
        assert_eq!(read(text.as_bytes(), CashbackItem::FIELDS), Ok(expected));
    }

    #[test]
    fn a_column_that_is_no_field_is_told_with_the_closest_field_and_all_of_them() {
        let known = "customerId, transactionId, transactionTime, amount, email, mobile, merchant, configurations, \
                     configurations.returnWindow";
        for (name, hint) in [
            ("costumerId", " (is \"customerId\" meant?)"),
            ("Transaction_ID", " (is \"transactionId\" meant?)"),
            (
                "returnWindow",
                " (is \"configurations.returnWindow\" meant?)",
            ),
            ("zebra", ""),
            (
                "a;b",
                " (are the columns separated by something else than commas?)",
            ),
        ] {
            let expected =
                format!("line 2: column \"{name}\" is not known{hint}; columns may be {known}");
            header_refused(&format!("{REQUIRED},{name}"), &expected);
        }
        let expected = format!("line 2: column 5 has no name; columns may be {known}");
        header_refused(&format!("{REQUIRED}, "), &expected);
        let expected = format!(
            "line 2: column \"amount\" is there twice, expected once; columns may be {known}"
        );
        header_refused(&format!("{REQUIRED},amount"), &expected);
        let name = "x".repeat(100_000);
        let error = read(name.as_bytes(), CashbackItem::FIELDS).unwrap_err();
        assert!(error.len() < 500, "{error}");
    }

    #[test]
    fn an_object_and_a_field_in_it_are_not_both_columns() {
        let expected = "line 2: column \"configurations.returnWindow\" is a part of column \"configurations\", expected one of both";
        header_refused(
            &format!("{REQUIRED},configurations,configurations.returnWindow"),
            expected,
        );
        header_refused(
            &format!("configurations.returnWindow,{REQUIRED},configurations"),
            expected,
        );
    }

    #[test]
    fn a_header_without_required_fields_names_them() {
        let expected = "line 2: required columns are missing: customerId, amount";
        header_refused("transactionId,email,transactionTime", expected);
    }

    #[test]
    fn a_header_that_is_no_text_ends_the_reading() {
        let error = read(b"customer\xE9\n1\n2\n", CashbackItem::FIELDS).unwrap_err();
        let expected = "line 1: the header is not valid: found byte 0xE9, which is not UTF-8; save the file as UTF-8";
        assert_eq!(error, expected);
        let error = read(b"\r\n", CashbackItem::FIELDS).unwrap_err();
        assert_eq!(error, "the file is empty, expected items");
    }
}
