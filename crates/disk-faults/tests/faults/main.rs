//! Power cuts, failing disks and kills at every call: whatever happens below the library, nothing that it has
//! acknowledged is lost, nothing is done twice, and work goes on.
//!
//! Linux only: the recorder stands in for functions of the C library.
#![cfg(target_os = "linux")]

mod books;
mod canaries;
mod cuts;
mod disk;
mod errors;
mod escapes;
mod ext4;
#[path = "../../src/format.rs"]
mod format;
mod image;
mod kills;
mod recording;
mod run;
mod scarcity;
mod script;
mod work;

/// The process that everything happens to; nothing when run as a test.
#[test]
fn script() -> Result<(), Box<dyn std::error::Error>> {
    script::live()
}
