//! Whatever the order in which clients ask, workers work, commits fail and processes end: nothing acknowledged is lost or
//! done twice. The fuzzer makes the choices that the simulation otherwise leaves to a seed.

#![no_main]

use batchwright::testing::simulation::simulate_choices;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|choices: &[u8]| {
    if let Err(failure) = simulate_choices(choices) {
        panic!("{failure}");
    }
});
