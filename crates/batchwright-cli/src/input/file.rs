//! Files, opened once and read as often as needed.

use super::RawItem;
use super::error::InputError;
use super::format::{Format, LOOKED_AT_BYTES};
use super::hashing::Hashing;
use super::reading::Reading;
use batchwright::loyalty::Field;
use std::fs::{File, FileType};
use std::io::{Read, Seek};
use std::path::Path;

/// An open file of items. What is put in its place while it is open changes nothing.
pub(crate) struct InputFile {
    file: File,
    format: Format,
    fields: &'static [Field],
}

impl InputFile {
    /// Opens a file of items with these `fields`; none when items are plain texts. Without a `format` the file's name
    /// tells it, and if that does not, its beginning.
    ///
    /// # Errors
    /// The file cannot be opened or is none.
    pub(crate) fn open(
        path: &Path,
        format: Option<Format>,
        fields: &'static [Field],
    ) -> Result<Self, InputError> {
        // First, because opening a pipe waits for somebody to write into it.
        let metadata = std::fs::metadata(path).map_err(InputError::Open)?;
        if !metadata.is_file() {
            let found = kind(metadata.file_type());
            return Err(InputError::NotAFile { found });
        }
        let file = File::open(path).map_err(InputError::Open)?;
        let format = match format.or_else(|| Format::of_path(path)) {
            Some(format) => format,
            None => {
                let mut beginning = Vec::new();
                let mut part = (&file).take(LOOKED_AT_BYTES as u64);
                part.read_to_end(&mut beginning).map_err(InputError::Read)?;
                Format::of_beginning(&beginning, fields.is_empty())
            }
        };
        Ok(Self {
            file,
            format,
            fields,
        })
    }

    /// The items, from the first one.
    ///
    /// # Errors
    /// The file cannot be read or is UTF-16; what is wrong with the header of a table.
    pub(crate) fn items(&mut self) -> Result<Items<'_>, InputError> {
        self.file.rewind().map_err(InputError::Read)?;
        let reader = Hashing::new(&mut self.file);
        Reading::new(reader, self.format, self.fields).map(Items)
    }
}

/// The items of a file. Behind an error that is not [of one item](InputError::is_of_one_item) nothing more comes.
pub(crate) struct Items<'a>(Reading<Hashing<&'a mut File>>);

impl Items<'_> {
    /// The SHA-256 of the file's bytes, of which what was not read yet is read now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn sha256(self) -> Result<[u8; 32], InputError> {
        self.0.into_reader_at_end().map(Hashing::sha256)
    }
}

impl Iterator for Items<'_> {
    type Item = Result<RawItem, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

fn kind(file_type: FileType) -> &'static str {
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_fifo(&file_type) {
        return "a pipe";
    }
    if file_type.is_dir() {
        "a directory"
    } else {
        "a device or a socket"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use batchwright::loyalty::{BalanceItem, Fields};
    use sha2::{Digest, Sha256};
    use std::path::PathBuf;
    use tempfile::TempDir;

    fn write(dir: &TempDir, name: &str, content: &str) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn items(input: &mut InputFile) -> Vec<String> {
        let items = input.items().unwrap();
        items.map(|item| item.unwrap().json).collect()
    }

    fn open_error(path: &Path) -> String {
        InputFile::open(path, None, BalanceItem::FIELDS)
            .err()
            .unwrap()
            .to_string()
    }

    #[test]
    fn a_given_format_goes_before_the_name_and_the_name_before_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let text = "{\"customerId\":\"ada\"}\n";
        let format = |name, given| {
            let path = write(&dir, name, text);
            InputFile::open(&path, given, BalanceItem::FIELDS)
                .unwrap()
                .format
        };
        assert_eq!(format("a.csv", Some(Format::Json)), Format::Json);
        assert_eq!(format("a.csv", None), Format::Csv);
        assert_eq!(format("a.txt", None), Format::JsonLines);
    }

    #[test]
    fn items_are_read_from_the_start_each_time_also_when_the_path_is_another_file_by_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(&dir, "a", "[1,2]");
        let mut input = InputFile::open(&path, None, &[]).unwrap();
        assert_eq!(input.items().unwrap().next().unwrap().unwrap().json, "1");
        std::fs::rename(write(&dir, "b", "[3]"), &path).unwrap();
        assert_eq!(items(&mut input), ["1", "2"]);
        assert_eq!(items(&mut input), ["1", "2"]);
    }

    #[test]
    fn the_sum_is_of_the_whole_file_also_when_the_items_were_not_all_read() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("\u{feff}[1{}]\r\n", ",2".repeat(300_000));
        let path = write(&dir, "a.json", &text);
        let expected: [u8; 32] = Sha256::digest(&text).into();
        let mut input = InputFile::open(&path, None, &[]).unwrap();
        for count in [0, 1, usize::MAX] {
            let mut items = input.items().unwrap();
            items.by_ref().take(count).for_each(drop);
            assert_eq!(items.sha256().unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let missing = open_error(&dir.path().join("missing"));
        assert!(
            missing.starts_with("the file cannot be opened: "),
            "{missing}"
        );
        let directory = "this is a directory, expected a file, which can be read twice";
        assert_eq!(open_error(dir.path()), directory);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pipes_and_devices_are_refused_without_waiting_for_them() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let status = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(status.unwrap().success());
        let expected = "this is a pipe, expected a file, which can be read twice";
        assert_eq!(open_error(&pipe), expected);
        let expected = "this is a device or a socket, expected a file, which can be read twice";
        assert_eq!(open_error(Path::new("/dev/zero")), expected);
    }
}
