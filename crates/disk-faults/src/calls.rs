//! The functions of the C library that are stood in for. Each makes the system call of its name; when it is on
//! something that is watched, through the recorder.
//!
//! The variadic ones take their last argument always: where it is not given it is not used, and the calling
//! conventions of the platforms that are tested on pass it in a register.

use crate::format::Kind;
use crate::recorder::{Call, Recorder, Watched, recorder};
use libc::{c_char, c_int, c_long, c_uint, c_void, iovec, mode_t, off_t, size_t, ssize_t};
use std::ffi::CStr;

/// A system call, with what it gives as a negative error number when it failed.
macro_rules! system {
    ($number:ident $(, $argument:expr)*) => {{
        // SAFETY: the arguments are those that the caller gave for this very call, or made of them.
        let result = unsafe { libc::syscall(libc::$number $(, $argument)*) };
        if result == -1 { -c_long::from(errno()) } else { result }
    }};
}

fn errno() -> c_int {
    // SAFETY: it always points to the thread's own number.
    unsafe { *libc::__errno_location() }
}

/// A result as the C library gives it.
fn answer(result: c_long) -> c_long {
    if result >= 0 {
        return result;
    }
    // SAFETY: it always points to the thread's own number.
    unsafe { *libc::__errno_location() = c_int::try_from(-result).unwrap_or(libc::EIO) };
    -1
}

/// The same, of a function that gives an `int`.
fn answer_int(result: c_long) -> c_int {
    c_int::try_from(answer(result)).unwrap_or(-1)
}

/// # Safety
/// `path` ends with a zero byte and is not changed meanwhile.
unsafe fn text<'a>(path: *const c_char) -> &'a CStr {
    // SAFETY: as the caller of a function with a path promises.
    unsafe { CStr::from_ptr(path) }
}

/// The recorder and the path, if it is watched.
///
/// # Safety
/// As [`text`].
unsafe fn watched_path(
    directory: c_int,
    path: *const c_char,
) -> Option<(&'static Recorder, Vec<u8>)> {
    let recorder = recorder()?;
    if path.is_null() {
        return None;
    }
    // SAFETY: passed on.
    let path = recorder.resolve(directory, unsafe { text(path) })?;
    Some((recorder, path))
}

fn watched_fd(fd: c_int) -> Option<(&'static Recorder, Watched)> {
    let recorder = recorder()?;
    let watched = recorder.watched(fd);
    (watched != Watched::No).then_some((recorder, watched))
}

fn status(fd: c_int) -> libc::stat {
    let mut status = std::mem::MaybeUninit::<libc::stat>::zeroed();
    system!(SYS_fstat, fd, status.as_mut_ptr());
    // SAFETY: zeroes are a `stat`, and the system may have filled it.
    unsafe { status.assume_init() }
}

fn exists(directory: c_int, path: *const c_char) -> bool {
    system!(SYS_faccessat, directory, path, libc::F_OK) == 0
}

/// # Safety
/// As [`text`].
unsafe fn open_at(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: passed on.
    let Some((recorder, absolute)) = (unsafe { watched_path(directory, path) }) else {
        return answer_int(system!(SYS_openat, directory, path, flags, mode));
    };
    if recorder.is_said(&absolute) {
        let fd = answer_int(system!(SYS_openat, directory, path, flags, mode));
        if fd >= 0 {
            recorder.opened(fd, absolute, false, 0);
        }
        return fd;
    }
    let call = Call {
        a: i64::from(flags),
        writes: flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_CREAT != 0,
        creates: flags & libc::O_CREAT != 0 && !exists(directory, path),
        ..Call::at(Kind::Open, &absolute)
    };
    let fd =
        answer_int(recorder.make(&call, |_| system!(SYS_openat, directory, path, flags, mode)));
    if fd >= 0 {
        let status = status(fd);
        let is_directory = status.st_mode & libc::S_IFMT == libc::S_IFDIR;
        recorder.opened(fd, absolute, is_directory, status.st_ino);
    }
    fd
}

/// # Safety
/// As the function of the C library; so are all below.
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: passed on.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: passed on.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: passed on.
    unsafe { open_at(directory, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: passed on.
    unsafe { open_at(directory, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn creat(path: *const c_char, mode: mode_t) -> c_int {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    // SAFETY: passed on.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn creat64(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: passed on.
    unsafe { creat(path, mode) }
}

#[unsafe(no_mangle)]
extern "C" fn close(fd: c_int) -> c_int {
    let close = |_| system!(SYS_close, fd);
    match watched_fd(fd) {
        Some((recorder, _)) => answer_int(recorder.make(&Call::on(Kind::Close, fd), close)),
        None => answer_int(close(false)),
    }
}

fn duplicate(fd: c_int, perform: impl FnOnce(bool) -> c_long) -> c_int {
    match watched_fd(fd) {
        Some((recorder, Watched::File | Watched::Directory)) => {
            answer_int(recorder.make(&Call::on(Kind::Duplicate, fd), perform))
        }
        _ => answer_int(perform(false)),
    }
}

#[unsafe(no_mangle)]
extern "C" fn dup(fd: c_int) -> c_int {
    duplicate(fd, |_| system!(SYS_dup, fd))
}

#[unsafe(no_mangle)]
extern "C" fn fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int {
    let perform = |_| system!(SYS_fcntl, fd, command, argument);
    if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
        duplicate(fd, perform)
    } else {
        answer_int(perform(false))
    }
}

#[unsafe(no_mangle)]
extern "C" fn fcntl64(fd: c_int, command: c_int, argument: c_long) -> c_int {
    fcntl(fd, command, argument)
}

/// How much of a call is done: all, or when shortened half.
fn portion(bytes: usize, short: bool) -> usize {
    if short { bytes / 2 } else { bytes }
}

/// Where the next read or write of `fd` begins.
fn position(fd: c_int) -> i64 {
    system!(SYS_lseek, fd, 0_i64, libc::SEEK_CUR)
}

/// Its length is what there is to be read.
fn read_call<'a>(fd: c_int, bytes: usize, offset: i64) -> Call<'a> {
    let left = (status(fd).st_size - offset).max(0);
    Call {
        a: offset,
        b: i64::try_from(bytes).unwrap_or(i64::MAX).min(left),
        ..Call::on(Kind::Read, fd)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, bytes: size_t) -> ssize_t {
    let perform = |short| system!(SYS_read, fd, buffer, portion(bytes, short));
    let result = match watched_fd(fd) {
        Some((recorder, Watched::File)) => {
            recorder.make(&read_call(fd, bytes, position(fd)), perform)
        }
        _ => perform(false),
    };
    answer(result) as ssize_t
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(
    fd: c_int,
    buffer: *mut c_void,
    bytes: size_t,
    offset: off_t,
) -> ssize_t {
    let perform = |short| system!(SYS_pread64, fd, buffer, portion(bytes, short), offset);
    let result = match watched_fd(fd) {
        Some((recorder, Watched::File)) => recorder.make(&read_call(fd, bytes, offset), perform),
        _ => perform(false),
    };
    answer(result) as ssize_t
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pread(
    fd: c_int,
    buffer: *mut c_void,
    bytes: size_t,
    offset: off_t,
) -> ssize_t {
    // SAFETY: passed on.
    unsafe { pread64(fd, buffer, bytes, offset) }
}

/// # Safety
/// There are `bytes` bytes at `data`, which nobody changes meanwhile.
unsafe fn write_recorded(
    fd: c_int,
    data: *const c_void,
    bytes: size_t,
    offset: Option<off_t>,
) -> c_long {
    let perform = |short| match offset {
        Some(offset) => system!(SYS_pwrite64, fd, data, portion(bytes, short), offset),
        None => system!(SYS_write, fd, data, portion(bytes, short)),
    };
    let Some((recorder, watched)) = watched_fd(fd) else {
        return perform(false);
    };
    let content = if bytes == 0 {
        &[]
    } else {
        // SAFETY: as the caller promises.
        unsafe { std::slice::from_raw_parts(data.cast::<u8>(), bytes) }
    };
    if watched == Watched::Said {
        recorder.say(content);
        return perform(false);
    }
    let call = Call {
        a: offset.unwrap_or_else(|| position(fd)),
        data: content,
        ..Call::on(Kind::Write, fd)
    };
    recorder.make(&call, perform)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, data: *const c_void, bytes: size_t) -> ssize_t {
    // SAFETY: passed on.
    answer(unsafe { write_recorded(fd, data, bytes, None) }) as ssize_t
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    fd: c_int,
    data: *const c_void,
    bytes: size_t,
    offset: off_t,
) -> ssize_t {
    // SAFETY: passed on.
    answer(unsafe { write_recorded(fd, data, bytes, Some(offset)) }) as ssize_t
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(
    fd: c_int,
    data: *const c_void,
    bytes: size_t,
    offset: off_t,
) -> ssize_t {
    // SAFETY: passed on.
    unsafe { pwrite64(fd, data, bytes, offset) }
}

/// Writes the first of the pieces only when it is recorded: callers go on with the rest.
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, pieces: *const iovec, count: c_int) -> ssize_t {
    if watched_fd(fd).is_none() {
        return answer(system!(SYS_writev, fd, pieces, count)) as ssize_t;
    }
    for index in 0..usize::try_from(count).unwrap_or_default() {
        // SAFETY: there are `count` pieces.
        let piece = unsafe { &*pieces.add(index) };
        if piece.iov_len > 0 {
            // SAFETY: as the caller promises of each piece.
            let result = unsafe { write_recorded(fd, piece.iov_base, piece.iov_len, None) };
            return answer(result) as ssize_t;
        }
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    let perform = |_| system!(SYS_ftruncate, fd, length);
    match watched_fd(fd) {
        Some((recorder, Watched::File)) => {
            let call = Call {
                a: length,
                ..Call::on(Kind::Truncate, fd)
            };
            answer_int(recorder.make(&call, perform))
        }
        _ => answer_int(perform(false)),
    }
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    ftruncate64(fd, length)
}

fn sync(kind: Kind, fd: c_int, perform: impl FnOnce(bool) -> c_long) -> c_int {
    match watched_fd(fd) {
        Some((recorder, watched)) if recorder.lies_about(kind, watched) => 0,
        Some((recorder, Watched::File | Watched::Directory)) => {
            answer_int(recorder.make(&Call::on(kind, fd), perform))
        }
        _ => answer_int(perform(false)),
    }
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    sync(Kind::Sync, fd, |_| system!(SYS_fsync, fd))
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(Kind::SyncData, fd, |_| system!(SYS_fdatasync, fd))
}

#[unsafe(no_mangle)]
extern "C" fn sync_file_range(fd: c_int, offset: off_t, bytes: off_t, flags: c_uint) -> c_int {
    sync(Kind::SyncRange, fd, |_| {
        system!(SYS_sync_file_range, fd, offset, bytes, flags)
    })
}

/// # Safety
/// As [`text`], of both.
unsafe fn rename_at(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    let perform = |_| system!(SYS_renameat2, from_directory, from, to_directory, to, flags);
    // SAFETY: passed on.
    let paths = unsafe {
        (
            watched_path(from_directory, from),
            watched_path(to_directory, to),
        )
    };
    let (Some((recorder, from_path)), Some((_, to_path))) = paths else {
        return answer_int(perform(false));
    };
    let call = Call {
        data: &to_path,
        ..Call::at(Kind::Rename, &from_path)
    };
    answer_int(recorder.make(&call, perform))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: passed on.
    unsafe { rename_at(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
) -> c_int {
    // SAFETY: passed on.
    unsafe { rename_at(from_directory, from, to_directory, to, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat2(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    // SAFETY: passed on.
    unsafe { rename_at(from_directory, from, to_directory, to, flags) }
}

/// # Safety
/// As [`text`].
unsafe fn at_path(
    kind: Kind,
    directory: c_int,
    path: *const c_char,
    perform: impl FnOnce(bool) -> c_long,
) -> c_int {
    // SAFETY: passed on.
    match unsafe { watched_path(directory, path) } {
        Some((recorder, path)) => answer_int(recorder.make(&Call::at(kind, &path), perform)),
        None => answer_int(perform(false)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
    let kind = if flags & libc::AT_REMOVEDIR != 0 {
        Kind::RemoveDirectory
    } else {
        Kind::Unlink
    };
    let perform = |_| system!(SYS_unlinkat, directory, path, flags);
    // SAFETY: passed on.
    unsafe { at_path(kind, directory, path, perform) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: passed on.
    unsafe { unlinkat(libc::AT_FDCWD, path, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: passed on.
    unsafe { unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdirat(directory: c_int, path: *const c_char, mode: mode_t) -> c_int {
    let perform = |_| system!(SYS_mkdirat, directory, path, mode);
    // SAFETY: passed on.
    unsafe { at_path(Kind::MakeDirectory, directory, path, perform) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: passed on.
    unsafe { mkdirat(libc::AT_FDCWD, path, mode) }
}
