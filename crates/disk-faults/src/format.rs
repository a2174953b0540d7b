//! The log of file operations: what the recorder writes and the tests read. It holds no pointers and no
//! structure but a list of entries, because a process may be killed while it writes one.

/// What an entry is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// `a` is the flags. The result is the descriptor.
    Open = 1,
    Close,
    /// `a` is the offset, `b` the length.
    Read,
    /// `a` is the offset, `data` what is written.
    Write,
    /// `a` is the new length.
    Truncate,
    Sync,
    /// Only the data, and the length.
    SyncData,
    /// `sync_file_range`, which makes nothing durable.
    SyncRange,
    /// `path` becomes `data`.
    Rename,
    Unlink,
    MakeDirectory,
    RemoveDirectory,
    /// `fd` gets a second descriptor, which is the result.
    Duplicate,
    /// `data` is what the process said that it knows.
    Said,
    /// The call of this number has returned `a`, which is negative when it failed. `b` is 1 when the failure
    /// was injected.
    Ended,
    /// A thread is started. Only there when one of them is to fail.
    Thread,
}

const KINDS: [Kind; 16] = [
    Kind::Open,
    Kind::Close,
    Kind::Read,
    Kind::Write,
    Kind::Truncate,
    Kind::Sync,
    Kind::SyncData,
    Kind::SyncRange,
    Kind::Rename,
    Kind::Unlink,
    Kind::MakeDirectory,
    Kind::RemoveDirectory,
    Kind::Duplicate,
    Kind::Said,
    Kind::Ended,
    Kind::Thread,
];

/// An entry of the log: a call has begun, has ended, or something was said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: Kind,
    /// Of the call, in the order of the beginnings in one process.
    pub(crate) number: u64,
    pub(crate) fd: i32,
    pub(crate) a: i64,
    pub(crate) b: i64,
    pub(crate) path: &'a [u8],
    pub(crate) data: &'a [u8],
}

/// Kind, whether the data is zeroes that are not written out, number, descriptor, `a`, `b`, and two lengths.
const HEADER_BYTES: usize = 1 + 1 + 8 + 4 + 8 + 8 + 4 + 4;

impl Entry<'_> {
    /// Appends the entry to `log`.
    #[allow(
        dead_code,
        reason = "this file is in two programs, one of which only reads"
    )]
    pub(crate) fn encode(&self, log: &mut Vec<u8>) {
        // The storage engine zeroes whole segments.
        let zeroes = self.data.len() > 64 && self.data.iter().all(|byte| *byte == 0);
        log.push(self.kind as u8);
        log.push(u8::from(zeroes));
        log.extend_from_slice(&self.number.to_le_bytes());
        log.extend_from_slice(&self.fd.to_le_bytes());
        log.extend_from_slice(&self.a.to_le_bytes());
        log.extend_from_slice(&self.b.to_le_bytes());
        for length in [self.path.len(), self.data.len()] {
            log.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
        log.extend_from_slice(self.path);
        if !zeroes {
            log.extend_from_slice(self.data);
        }
    }
}

/// Zeroes that entries refer to: no write is longer.
#[allow(
    dead_code,
    reason = "this file is in two programs, one of which only writes"
)]
static ZEROES: [u8; 16 << 20] = [0; 16 << 20];

/// Takes the next entry off a log. None at the end, also at an end that was cut off.
#[allow(
    dead_code,
    reason = "this file is in two programs, one of which only writes"
)]
pub(crate) fn decode<'a>(log: &mut &'a [u8]) -> Option<Entry<'a>> {
    let (header, rest) = log.split_at_checked(HEADER_BYTES)?;
    let long = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        i64::from_le_bytes(bytes)
    };
    let short = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&header[at..at + 4]);
        i32::from_le_bytes(bytes)
    };
    let kind = *KINDS.get(usize::from(header[0]).checked_sub(1)?)?;
    let path_bytes = usize::try_from(short(30)).ok()?;
    let data_bytes = usize::try_from(short(34)).ok()?;
    let (path, rest) = rest.split_at_checked(path_bytes)?;
    let (data, rest) = if header[1] == 1 {
        (ZEROES.get(..data_bytes)?, rest)
    } else {
        rest.split_at_checked(data_bytes)?
    };
    *log = rest;
    Some(Entry {
        kind,
        number: u64::try_from(long(2)).ok()?,
        fd: short(10),
        a: long(14),
        b: long(22),
        path,
        data,
    })
}
