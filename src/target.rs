//! Which registered operation a submission goes to.

use crate::error::SubmitError;
use crate::kernel::OperationIndex;
use crate::operation::Operation;
use crate::runtime::{Handler, Registered, Shared, Typed};
use std::any::{Any, TypeId, type_name};

/// An operation that can be submitted to.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) index: OperationIndex,
    pub(crate) registered: &'a Registered,
    pub(crate) handler: &'a dyn Handler,
}

impl<'a> Target<'a> {
    /// The operation that is registered under `name`, or that had it before.
    pub(crate) fn named(shared: &'a Shared, name: &str) -> Result<Self, SubmitError> {
        shared.check()?;
        let found = shared.operation_named(name).and_then(|index| {
            let registered = shared.operation(index);
            let handler = registered.handler.as_deref()?;
            Some(Self {
                index,
                registered,
                handler,
            })
        });
        found.ok_or_else(|| unknown(shared, name))
    }

    /// The operation under `name`, which must be of type `O`.
    pub(crate) fn of_type<O: Operation>(
        shared: &'a Shared,
        name: &str,
    ) -> Result<Self, SubmitError> {
        let target = Self::named(shared, name)?;
        if !is_of_type::<O>(target.handler) {
            return Err(unknown(shared, name));
        }
        Ok(target)
    }

    /// The operation under `name`, whose items must be of type `T`.
    pub(crate) fn taking<T: Any>(shared: &'a Shared, name: &str) -> Result<Self, SubmitError> {
        let target = Self::named(shared, name)?;
        let expected = target.handler.item_type();
        if expected.id != TypeId::of::<T>() {
            return Err(SubmitError::WrongItemType {
                operation: target.registered.name.to_string(),
                expected: expected.name,
                found: type_name::<T>(),
            });
        }
        Ok(target)
    }
}

/// Whether it is an `O` that was registered.
pub(crate) fn is_of_type<O: Operation>(handler: &dyn Handler) -> bool {
    handler.as_any().is::<Typed<O>>()
}

fn unknown(shared: &Shared, name: &str) -> SubmitError {
    let registered = shared.operations.iter().filter(|op| op.handler.is_some());
    SubmitError::UnknownOperation {
        name: name.to_owned(),
        known: registered.map(|op| op.name.to_string()).collect(),
    }
}
