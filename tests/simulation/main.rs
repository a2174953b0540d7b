//! The whole engine in virtual time, on one thread, seed after seed: nothing lost, nothing twice, whatever fails.

use batchwright::testing::simulation::{simulate, simulate_and_record};

#[test]
fn a_few() {
    if let Ok(seed) = std::env::var("BATCHWRIGHT_SEED") {
        let seed = seed.parse().unwrap();
        match simulate_and_record(seed) {
            Ok(trace) => println!("{trace}\n{:x} {}", trace.hash, trace.events),
            Err(failure) => panic!(
                "{}\n{failure}",
                failure
                    .trace
                    .as_ref()
                    .map_or(String::new(), |t| t.to_string())
            ),
        }
        return;
    }
    for seed in 0..200 {
        if let Err(failure) = simulate(seed) {
            panic!("{failure}");
        }
    }
}
