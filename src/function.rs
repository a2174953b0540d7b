//! A closure as an operation.

use crate::context::Context;
use crate::failure::Failure;
use crate::operation::{Guarantee, Operation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// What [`Builder::register_fn`](crate::Builder::register_fn) registers.
pub(crate) struct Function<F, T, R, G> {
    body: F,
    types: PhantomData<fn(T, G) -> R>,
}

impl<F, T, R, G> Function<F, T, R, G> {
    pub(crate) fn new(body: F) -> Self {
        Self {
            body,
            types: PhantomData,
        }
    }
}

impl<F, T, R, G> Operation for Function<F, T, R, G>
where
    F: Fn(T, &mut Context<G>) -> Result<R, Failure> + Send + Sync + 'static,
    T: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    G: Guarantee,
{
    /// Never asked for: a closure is registered under a name that is given.
    const NAME: &'static str = "function";
    type Item = T;
    type Output = R;
    type Guarantee = G;

    fn run(&self, item: T, cx: &mut Context<G>) -> Result<R, Failure> {
        (self.body)(item, cx)
    }
}
