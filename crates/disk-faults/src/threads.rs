//! The one function that is stood in for and is not about files: a system that has no thread left to give.

use crate::format::Kind;
use crate::recorder::{Call, recorder};
use libc::{c_int, c_long, c_void, pthread_attr_t, pthread_t};

type Start = extern "C" fn(*mut c_void) -> *mut c_void;

type Create =
    unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Start, *mut c_void) -> c_int;

/// The C library's own.
fn real() -> Option<Create> {
    // SAFETY: the name ends with a zero.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) };
    // SAFETY: it is the function of that name, and null is `None`.
    unsafe { std::mem::transmute::<*mut c_void, Option<Create>>(found) }
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    let Some(real) = real() else {
        return libc::EAGAIN;
    };
    let create = |_| {
        // SAFETY: passed on.
        let error = unsafe { real(thread, attributes, start, argument) };
        -c_long::from(error)
    };
    let failing = recorder().filter(|recorder| recorder.counts_threads());
    let result = match failing {
        Some(recorder) => recorder.make(&Call::on(Kind::Thread, -1), create),
        None => create(false),
    };
    c_int::try_from(-result).unwrap_or(libc::EAGAIN)
}
