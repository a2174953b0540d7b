//! What an application may send to other threads, share with them, and copy.

use crate::harness::Call;
use batchwright::{
    AtLeastOnce, BackupError, Batch, BatchError, BatchFilter, BatchId, Batches, Builder, Context,
    Ended, Events, Import, ImportError, ItemOutcome, OpenError, Outcomes, Queue, ReadError, Report,
    SalvageError, ShutdownError, Stats, Status, SubmitError, SubmitOptions, TableError,
    VerifyError, WaitError, Watch,
};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// None of these is called: that they compile is the test.
const fn crosses_threads<T: Send + Sync + 'static>() {}
const fn moves_to_a_thread<T: Send + 'static>() {}
const fn is_copied<T: Clone>() {}
const fn is_an_error<T: std::error::Error + Send + Sync + 'static>() {}

const fn survives_a_panic<T: UnwindSafe + RefUnwindSafe>() {}

#[allow(dead_code)]
const CAUGHT: () = {
    survives_a_panic::<Queue>();
    survives_a_panic::<Batch<Call>>();
    survives_a_panic::<Events>();
    survives_a_panic::<Watch<Call>>();
    survives_a_panic::<Ended<Call>>();
};

#[allow(dead_code)]
const HANDLES: () = {
    crosses_threads::<Queue>();
    is_copied::<Queue>();
    // Also of operations that are neither.
    crosses_threads::<Batch<Call>>();
    crosses_threads::<Batch>();
    is_copied::<Batch>();
    moves_to_a_thread::<Outcomes<Call>>();
    moves_to_a_thread::<Batches>();
    moves_to_a_thread::<Import<Call>>();
    moves_to_a_thread::<Builder>();
    moves_to_a_thread::<Ended<Call>>();
    moves_to_a_thread::<Watch<Call>>();
    moves_to_a_thread::<Events>();
    crosses_threads::<BatchFilter>();
    crosses_threads::<BatchId>();
    crosses_threads::<SubmitOptions>();
    crosses_threads::<Status>();
    crosses_threads::<Report>();
    crosses_threads::<Stats>();
    crosses_threads::<ItemOutcome<u64>>();
    moves_to_a_thread::<Context<AtLeastOnce>>();
};

#[allow(dead_code)]
const ERRORS: () = {
    is_an_error::<OpenError>();
    is_an_error::<SubmitError>();
    is_an_error::<ImportError>();
    is_an_error::<BatchError>();
    is_an_error::<WaitError>();
    is_an_error::<ReadError>();
    is_an_error::<TableError>();
    is_an_error::<ShutdownError>();
    is_an_error::<VerifyError>();
    is_an_error::<BackupError>();
    is_an_error::<SalvageError>();
};
