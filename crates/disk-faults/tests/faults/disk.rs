//! A model of a disk under a file system: what is certainly on it, and what may be.
//!
//! It is as hostile as POSIX permits:
//! - a write that no sync of its file has covered may be lost, whole or by sectors, whatever came after it;
//! - the length of a file is as durable as its last sync, and may be there without the data: then it reads zeroes;
//! - a name is as durable as the last sync of its directory, whatever became of the file; a file that was synced may
//!   be without a name;
//! - a sync covers what had returned before it began; `sync_file_range` covers nothing;
//! - what a failed sync should have covered is not covered by a later one either.
//!
//! Friendlier than POSIX in two things that every journaling file system grants: a rename is whole or not at all, and
//! what was made durable is not spoilt by a later write that is lost.

use crate::format::{Entry, Kind};
use crate::recording::Step;
use std::collections::{BTreeMap, HashMap};

pub(crate) type Inode = usize;

/// Of a call: the process and the number in it.
type CallId = (usize, u64);

/// Something that was done and not synced.
#[derive(Debug, Clone)]
pub(crate) struct Pending<T> {
    call: CallId,
    returned: bool,
    /// A sync of it failed: no later one covers it. Linux forgets that it is to be written.
    forgotten: bool,
    pub(crate) what: T,
}

#[derive(Debug, Clone)]
pub(crate) enum Change<'a> {
    Write { offset: usize, data: &'a [u8] },
    Resize(usize),
}

impl<'a> Pending<Change<'a>> {
    /// What is left of a write when a newer change has taken its place.
    fn outside(self, newer: &Change<'_>) -> Vec<Self> {
        let Change::Write { offset, data } = self.what else {
            return vec![self];
        };
        let (from, to) = match newer {
            Change::Write { offset, data } => (*offset, offset + data.len()),
            Change::Resize(length) => (*length, usize::MAX),
        };
        let before = from.saturating_sub(offset).min(data.len());
        let after = to.saturating_sub(offset).min(data.len());
        let pieces = [
            (offset, &data[..before]),
            (offset + after, &data[after.max(before)..]),
        ];
        let pieces = pieces.into_iter().filter(|(_, data)| !data.is_empty());
        pieces
            .map(|(offset, data)| Self {
                what: Change::Write { offset, data },
                ..self.clone()
            })
            .collect()
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Naming {
    Set(String, Inode),
    Remove(String),
    Move(String, String, Inode),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct FileNode<'a> {
    pub(crate) durable: Vec<u8>,
    pub(crate) pending: Vec<Pending<Change<'a>>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct DirectoryNode {
    pub(crate) durable: BTreeMap<String, Inode>,
    pub(crate) pending: Vec<Pending<Naming>>,
    /// As processes see it.
    live: BTreeMap<String, Inode>,
}

#[derive(Debug, Clone)]
pub(crate) enum Node<'a> {
    File(FileNode<'a>),
    Directory(DirectoryNode),
}

/// A call that has begun, and what its end means.
#[derive(Debug, Clone)]
enum Begun {
    Open { path: String, created: bool },
    Duplicate(Inode),
    Change(Inode),
    Names(Inode, Naming),
    Sync(Inode, Vec<CallId>),
    Other,
}

#[derive(Debug, Clone)]
pub(crate) struct Disk<'a> {
    root: String,
    pub(crate) nodes: Vec<Node<'a>>,
    descriptors: HashMap<i32, Inode>,
    begun: HashMap<u64, Begun>,
    process: usize,
}

/// The watched directory, which is there before everything else.
pub(crate) const ROOT: Inode = 0;

impl<'a> Disk<'a> {
    /// A disk with nothing on it but the directory `root`.
    pub(crate) fn new(root: &str) -> Self {
        Self {
            root: root.to_owned(),
            nodes: vec![Node::Directory(DirectoryNode::default())],
            descriptors: HashMap::new(),
            begun: HashMap::new(),
            process: 0,
        }
    }

    /// Whether there is nothing that may be on the disk or not.
    #[cfg(test)]
    fn is_certain(&self) -> bool {
        self.nodes.iter().all(|node| match node {
            Node::File(file) => file.pending.is_empty(),
            Node::Directory(directory) => directory.pending.is_empty(),
        })
    }

    pub(crate) fn step(&mut self, step: Step<'a>) {
        match step {
            Step::Process => {
                self.process += 1;
                self.descriptors.clear();
                // What a killed process had begun may be done or not.
                self.begun.clear();
            }
            Step::Entry(entry) if entry.kind == Kind::Ended => self.end(&entry),
            Step::Entry(entry) if entry.kind == Kind::Said => {}
            Step::Entry(entry) => self.begin(entry),
        }
    }

    fn begin(&mut self, entry: Entry<'a>) {
        let path = String::from_utf8_lossy(entry.path).into_owned();
        let begun = match entry.kind {
            Kind::Open => self.begin_open(&entry, path),
            Kind::Close => {
                self.descriptors.remove(&entry.fd);
                Begun::Other
            }
            Kind::Duplicate => match self.descriptors.get(&entry.fd) {
                Some(inode) => Begun::Duplicate(*inode),
                None => Begun::Other,
            },
            Kind::Write => {
                let offset = usize::try_from(entry.a).unwrap_or_default();
                let data = entry.data;
                self.change(&entry, Change::Write { offset, data })
            }
            Kind::Truncate => {
                let length = usize::try_from(entry.a).unwrap_or_default();
                self.change(&entry, Change::Resize(length))
            }
            Kind::Sync | Kind::SyncData => self.begin_sync(&entry),
            Kind::Rename => self.begin_rename(&entry, &path),
            Kind::Unlink | Kind::RemoveDirectory => match self.parent(&path) {
                Some((parent, name)) => self.name(&entry, parent, Naming::Remove(name)),
                None => Begun::Other,
            },
            Kind::MakeDirectory => match self.parent(&path) {
                Some((parent, name)) if self.live(parent, &name).is_none() => {
                    self.nodes.push(Node::Directory(DirectoryNode::default()));
                    let inode = self.nodes.len() - 1;
                    self.name(&entry, parent, Naming::Set(name, inode))
                }
                _ => Begun::Other,
            },
            Kind::Read | Kind::SyncRange | Kind::Said | Kind::Ended | Kind::Thread => Begun::Other,
        };
        self.begun.insert(entry.number, begun);
    }

    fn begin_open(&mut self, entry: &Entry<'a>, path: String) -> Begun {
        // Of the platforms that are tested on; the log has numbers.
        let (creates, truncates) = (entry.a & 0o100 != 0, entry.a & 0o1000 != 0);
        let mut created = false;
        match self.find(&path) {
            Some(inode) if truncates => {
                let id = self.id(entry);
                if let Node::File(file) = &mut self.nodes[inode] {
                    file.pending.push(Pending {
                        call: id,
                        returned: false,
                        forgotten: false,
                        what: Change::Resize(0),
                    });
                }
            }
            None if creates => {
                if let Some((parent, name)) = self.parent(&path) {
                    self.nodes.push(Node::File(FileNode::default()));
                    let inode = self.nodes.len() - 1;
                    self.name(entry, parent, Naming::Set(name, inode));
                    created = true;
                }
            }
            _ => {}
        }
        Begun::Open { path, created }
    }

    fn begin_sync(&mut self, entry: &Entry<'a>) -> Begun {
        let Some(inode) = self.descriptors.get(&entry.fd).copied() else {
            return Begun::Other;
        };
        let covered = match &self.nodes[inode] {
            Node::File(file) => returned(&file.pending),
            Node::Directory(directory) => returned(&directory.pending),
        };
        Begun::Sync(inode, covered)
    }

    fn begin_rename(&mut self, entry: &Entry<'a>, from: &str) -> Begun {
        let to = String::from_utf8_lossy(entry.data).into_owned();
        match (self.parent(from), self.parent(&to), self.find(from)) {
            // Neither the library nor its engine moves a file to another directory.
            (Some((parent, from)), Some((other, to)), Some(inode)) if parent == other => {
                self.name(entry, parent, Naming::Move(from, to, inode))
            }
            _ => Begun::Other,
        }
    }

    fn change(&mut self, entry: &Entry<'a>, what: Change<'a>) -> Begun {
        let id = self.id(entry);
        let Some(inode) = self.descriptors.get(&entry.fd).copied() else {
            return Begun::Other;
        };
        let Node::File(file) = &mut self.nodes[inode] else {
            return Begun::Other;
        };
        file.pending.push(Pending {
            call: id,
            returned: false,
            forgotten: false,
            what,
        });
        Begun::Change(inode)
    }

    fn name(&mut self, entry: &Entry<'a>, parent: Inode, what: Naming) -> Begun {
        let id = self.id(entry);
        if let Node::Directory(directory) = &mut self.nodes[parent] {
            directory.pending.push(Pending {
                call: id,
                returned: false,
                forgotten: false,
                what: what.clone(),
            });
        }
        Begun::Names(parent, what)
    }

    fn end(&mut self, entry: &Entry<'a>) {
        let id = self.id(entry);
        let succeeded = entry.a >= 0;
        match self.begun.remove(&entry.number) {
            Some(Begun::Open { path, created }) => self.end_open(entry, &path, created),
            Some(Begun::Duplicate(inode)) if succeeded => {
                self.descriptors
                    .insert(i32::try_from(entry.a).unwrap_or(-1), inode);
            }
            Some(Begun::Change(inode)) => {
                if let Node::File(file) = &mut self.nodes[inode] {
                    let written = usize::try_from(entry.a).ok();
                    file.pending.retain_mut(|change| {
                        if change.call != id {
                            return true;
                        }
                        change.returned = true;
                        if let (Change::Write { data, .. }, Some(written)) =
                            (&mut change.what, written)
                        {
                            *data = &data[..written.min(data.len())];
                        }
                        // One that failed has done nothing: faults are injected before.
                        succeeded
                    });
                }
            }
            Some(Begun::Names(parent, naming)) => self.end_naming(id, parent, &naming, succeeded),
            Some(Begun::Sync(inode, covered)) if succeeded => self.settle(inode, &covered),
            Some(Begun::Sync(inode, covered)) => {
                if let Node::File(file) = &mut self.nodes[inode] {
                    for change in &mut file.pending {
                        change.forgotten |= covered.contains(&change.call);
                    }
                }
            }
            _ => {}
        }
    }

    fn end_open(&mut self, entry: &Entry<'a>, path: &str, created: bool) {
        let id = self.id(entry);
        let succeeded = entry.a >= 0;
        let inode = match (created, self.parent(path)) {
            (true, Some((parent, name))) => {
                // The newest: two threads do not create one file.
                let made = self.pending_name(parent, id);
                if let Some(inode) = made {
                    self.end_naming(id, parent, &Naming::Set(name, inode), succeeded);
                }
                made
            }
            _ => self.find(path),
        };
        let Some(inode) = inode else { return };
        if let Node::File(file) = &mut self.nodes[inode] {
            file.pending.retain_mut(|change| {
                change.returned |= change.call == id;
                succeeded || change.call != id
            });
        }
        if let Ok(fd) = i32::try_from(entry.a)
            && fd >= 0
        {
            self.descriptors.insert(fd, inode);
        }
    }

    fn pending_name(&self, parent: Inode, id: CallId) -> Option<Inode> {
        let Node::Directory(directory) = &self.nodes[parent] else {
            return None;
        };
        let pending = directory.pending.iter().find(|naming| naming.call == id);
        match pending?.what {
            Naming::Set(_, inode) => Some(inode),
            _ => None,
        }
    }

    fn end_naming(&mut self, id: CallId, parent: Inode, naming: &Naming, succeeded: bool) {
        let Node::Directory(directory) = &mut self.nodes[parent] else {
            return;
        };
        directory.pending.retain_mut(|pending| {
            pending.returned |= pending.call == id;
            succeeded || pending.call != id
        });
        if succeeded {
            apply_naming(&mut directory.live, naming);
        }
    }

    /// Makes durable what a sync covered.
    fn settle(&mut self, inode: Inode, covered: &[CallId]) {
        match &mut self.nodes[inode] {
            Node::File(file) => {
                let mut left: Vec<Pending<Change<'a>>> = Vec::new();
                for change in std::mem::take(&mut file.pending) {
                    if covered.contains(&change.call) {
                        apply_change(&mut file.durable, &change.what);
                        // What is older can no longer come to the same place.
                        left = left
                            .into_iter()
                            .flat_map(|older| older.outside(&change.what))
                            .collect();
                    } else {
                        left.push(change);
                    }
                }
                file.pending = left;
            }
            Node::Directory(directory) => {
                let (durable, pending) = (&mut directory.durable, &mut directory.pending);
                pending.retain(|naming| {
                    let settled = covered.contains(&naming.call);
                    if settled {
                        apply_naming(durable, &naming.what);
                    }
                    !settled
                });
            }
        }
    }

    fn id(&self, entry: &Entry<'a>) -> CallId {
        (self.process, entry.number)
    }

    fn live(&self, directory: Inode, name: &str) -> Option<Inode> {
        match &self.nodes[directory] {
            Node::Directory(directory) => directory.live.get(name).copied(),
            Node::File(_) => None,
        }
    }

    fn find(&self, path: &str) -> Option<Inode> {
        let below = path.strip_prefix(&self.root)?;
        let names = below.split('/').filter(|name| !name.is_empty());
        names
            .into_iter()
            .try_fold(ROOT, |inode, name| self.live(inode, name))
    }

    fn parent(&self, path: &str) -> Option<(Inode, String)> {
        let (parent, name) = path.rsplit_once('/')?;
        Some((self.find(parent)?, name.to_owned()))
    }
}

fn returned<T>(pending: &[Pending<T>]) -> Vec<CallId> {
    let returned = pending
        .iter()
        .filter(|pending| pending.returned && !pending.forgotten);
    returned.map(|pending| pending.call).collect()
}

pub(crate) fn apply_naming(names: &mut BTreeMap<String, Inode>, naming: &Naming) {
    match naming {
        Naming::Set(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Naming::Remove(name) => {
            names.remove(name);
        }
        Naming::Move(from, to, inode) => {
            if names.get(from) == Some(inode) {
                names.remove(from);
            }
            names.insert(to.clone(), *inode);
        }
    }
}

pub(crate) fn apply_change(content: &mut Vec<u8>, change: &Change<'_>) {
    match change {
        Change::Write { offset, data } => {
            let end = offset + data.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(data);
        }
        Change::Resize(length) => content.resize(*length, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(
        kind: Kind,
        number: u64,
        fd: i32,
        a: i64,
        path: &'a str,
        data: &'a str,
    ) -> Step<'a> {
        Step::Entry(Entry {
            kind,
            number,
            fd,
            a,
            b: 0,
            path: path.as_bytes(),
            data: data.as_bytes(),
        })
    }

    fn done<'a>(disk: &mut Disk<'a>, call: Step<'a>, result: i64) {
        disk.step(call);
        if let Step::Entry(begun) = call {
            disk.step(entry(Kind::Ended, begun.number, begun.fd, result, "", ""));
        }
    }

    fn file<'d, 'a>(disk: &'d Disk<'a>, path: &str) -> &'d FileNode<'a> {
        match &disk.nodes[disk.find(path).unwrap()] {
            Node::File(file) => file,
            Node::Directory(_) => panic!("a directory"),
        }
    }

    fn with_a_file<'a>() -> Disk<'a> {
        let mut disk = Disk::new("/r");
        disk.step(Step::Process);
        done(&mut disk, entry(Kind::Open, 0, -1, 0o102, "/r/f", ""), 5);
        disk
    }

    #[test]
    fn a_sync_covers_what_had_returned_before_it_began() {
        let mut disk = with_a_file();
        done(&mut disk, entry(Kind::Write, 1, 5, 0, "", "before"), 6);
        disk.step(entry(Kind::Write, 2, 5, 6, "", "while"));
        disk.step(entry(Kind::SyncData, 3, 5, 0, "", ""));
        disk.step(entry(Kind::Ended, 2, 5, 5, "", ""));
        done(&mut disk, entry(Kind::Write, 4, 5, 11, "", "after"), 5);
        disk.step(entry(Kind::Ended, 3, 5, 0, "", ""));
        let file = file(&disk, "/r/f");
        assert_eq!(file.durable, b"before");
        assert_eq!(file.pending.len(), 2);
    }

    #[test]
    fn a_failed_sync_and_a_sync_of_a_range_cover_nothing() {
        let mut disk = with_a_file();
        done(&mut disk, entry(Kind::Write, 1, 5, 0, "", "data"), 4);
        done(&mut disk, entry(Kind::SyncData, 2, 5, 0, "", ""), -5);
        done(&mut disk, entry(Kind::SyncRange, 3, 5, 0, "", ""), 0);
        // Nor does one that succeeds afterwards.
        done(&mut disk, entry(Kind::SyncData, 4, 5, 0, "", ""), 0);
        assert_eq!(file(&disk, "/r/f").durable, b"");
        assert_eq!(file(&disk, "/r/f").pending.len(), 1);
    }

    #[test]
    fn the_sync_of_a_file_does_not_make_its_name_durable_and_that_of_the_directory_does() {
        let mut disk = with_a_file();
        done(&mut disk, entry(Kind::Sync, 1, 5, 0, "", ""), 0);
        let names = |disk: &Disk<'_>| match &disk.nodes[ROOT] {
            Node::Directory(root) => root.durable.keys().cloned().collect::<Vec<_>>(),
            Node::File(_) => Vec::new(),
        };
        assert!(names(&disk).is_empty());
        done(&mut disk, entry(Kind::Open, 2, -1, 0, "/r", ""), 6);
        done(&mut disk, entry(Kind::Rename, 3, -1, 0, "/r/f", "/r/g"), 0);
        done(&mut disk, entry(Kind::Sync, 4, 6, 0, "", ""), 0);
        assert_eq!(names(&disk), ["g"]);
        assert!(disk.is_certain());
    }

    #[test]
    fn what_was_made_durable_is_not_undone_by_an_older_write() {
        let mut disk = with_a_file();
        done(&mut disk, entry(Kind::Write, 1, 5, 0, "", "older"), 5);
        done(&mut disk, entry(Kind::SyncData, 2, 5, 0, "", ""), -5);
        done(&mut disk, entry(Kind::Write, 3, 5, 1, "", "new"), 3);
        done(&mut disk, entry(Kind::SyncData, 4, 5, 0, "", ""), 0);
        let file = file(&disk, "/r/f");
        assert_eq!(file.durable, b"\0new");
        let mut all = file.durable.clone();
        file.pending
            .iter()
            .for_each(|change| apply_change(&mut all, &change.what));
        assert_eq!((file.pending.len(), &all[..]), (2, &b"onewr"[..]));
    }

    #[test]
    fn a_short_write_has_written_what_it_said() {
        let mut disk = with_a_file();
        done(&mut disk, entry(Kind::Write, 1, 5, 0, "", "data"), 2);
        done(&mut disk, entry(Kind::Sync, 2, 5, 0, "", ""), 0);
        assert_eq!(file(&disk, "/r/f").durable, b"da");
    }
}
