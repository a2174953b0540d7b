//! An operation with its types forgotten: what workers run.

use crate::context::{self, Context, Workspace};
use crate::failure::Failure;
use crate::item::{self, Misfit};
use crate::kernel::{OperationSpec, Promise, SliceItem};
use crate::limits;
use crate::operation::Operation;
use std::any::{Any, TypeId};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// An operation as the application registered it.
pub(crate) struct Registration {
    pub(crate) name: String,
    /// Names that it had before.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) handler: Arc<dyn Handler>,
}

/// The type of an operation's items.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ItemType {
    pub(crate) id: TypeId,
    pub(crate) name: &'static str,
}

/// How a handler left an item.
#[derive(Debug)]
pub(crate) enum Ran {
    /// The output is where the caller said, as JSON.
    Succeeded,
    Failed(Failure),
    Panicked(Failure),
    /// The handler has succeeded, and its output cannot be stored.
    Unwritable(Failure),
    /// The item is not of the operation's type, and why.
    Undecodable(String),
}

pub(crate) trait Handler: Send + Sync {
    fn spec(&self) -> OperationSpec;

    fn promise(&self) -> Promise;

    /// How long it may take.
    fn timeout(&self) -> Option<Duration>;

    fn item_type(&self) -> ItemType;

    /// Validates an item of the [`item_type`](Self::item_type) and appends its JSON to `json`. Returns
    /// the hash of its ordering key, 0 for none.
    fn encode(&self, item: &dyn Any, json: &mut Vec<u8>) -> Result<u64, Failure>;

    /// As [`encode`](Self::encode), of an item that is given as JSON.
    fn encode_json(&self, item: &str, json: &mut Vec<u8>) -> Result<u64, Misfit>;

    /// Runs one item and puts its output, as JSON, into `output`, which is empty. The workspace comes
    /// back whatever the handler does.
    fn run(
        &self,
        json: &[u8],
        item: SliceItem,
        workspace: Box<Workspace>,
        output: &mut Vec<u8>,
    ) -> (Ran, Box<Workspace>);

    /// For finding the operation's type again.
    fn as_any(&self) -> &dyn Any;
}

pub(crate) struct Typed<O>(pub(crate) O);

impl<O: Operation> Handler for Typed<O> {
    fn spec(&self) -> OperationSpec {
        OperationSpec {
            registered: true,
            paused: false,
            promise: self.promise(),
            retry: self.0.retry(),
            concurrency: self.0.concurrency().map(u32::from),
            rate: self.0.rate_limit(),
            timed: self.0.timeout().is_some(),
            crashes: self.0.crash_limit().map(u32::from),
        }
    }

    fn promise(&self) -> Promise {
        context::promise::<O::Guarantee>()
    }

    fn timeout(&self) -> Option<Duration> {
        self.0.timeout()
    }

    fn item_type(&self) -> ItemType {
        ItemType {
            id: TypeId::of::<O::Item>(),
            name: std::any::type_name::<O::Item>(),
        }
    }

    fn encode(&self, item: &dyn Any, json: &mut Vec<u8>) -> Result<u64, Failure> {
        match item.downcast_ref() {
            Some(item) => item::write(&self.0, item, json),
            // Whoever submits has compared the types.
            None => Err(item::of_another_type::<O>()),
        }
    }

    fn encode_json(&self, item: &str, json: &mut Vec<u8>) -> Result<u64, Misfit> {
        item::rewrite(&self.0, item, json)
    }

    fn run(
        &self,
        json: &[u8],
        item: SliceItem,
        workspace: Box<Workspace>,
        output: &mut Vec<u8>,
    ) -> (Ran, Box<Workspace>) {
        let decoded: O::Item = match catch_unwind(|| serde_json::from_slice(json)) {
            Ok(Ok(decoded)) => decoded,
            Ok(Err(error)) => return (Ran::Undecodable(error.to_string()), workspace),
            Err(panic) => return (Ran::Undecodable(panic_text(panic)), workspace),
        };
        let mut cx = Context::<O::Guarantee>::new(item, workspace);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let result = self.0.run(decoded, &mut cx)?;
            Ok(write_output(&result, output))
        }));
        let ran = match ran {
            Ok(Ok(Ok(()))) => Ran::Succeeded,
            Ok(Ok(Err(failure))) => Ran::Unwritable(failure),
            Ok(Err(failure)) => Ran::Failed(failure),
            Err(panic) => {
                let text = panic_text(panic);
                Ran::Panicked(Failure::permanent(Failure::PANICKED, text))
            }
        };
        (ran, cx.into_workspace())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Appends an output's JSON, of which there is at most the limit.
pub(crate) fn write_output<T: serde::Serialize>(
    result: &T,
    output: &mut Vec<u8>,
) -> Result<(), Failure> {
    serde_json::to_writer(&mut *output, result).map_err(|error| {
        let text = format!("the output cannot be written as JSON: {error}");
        Failure::permanent(Failure::INVALID_OUTPUT, text)
    })?;
    let (bytes, limit) = (output.len(), limits::PAYLOAD_BYTES);
    if bytes > limit {
        let text = format!("the output is {bytes} bytes of JSON, the limit is {limit}");
        return Err(Failure::permanent(Failure::INVALID_OUTPUT, text));
    }
    Ok(())
}

/// The panic's text.
fn panic_text(panic: Box<dyn Any + Send>) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned());
    drop_panic(panic);
    text
}

/// Drops what foreign code panicked with, which may panic once more.
pub(super) fn drop_panic(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // There is no end to this but to leave it.
        std::mem::forget(again);
    }
}
