//! Submitting by name: to one type under several names, to closures, and JSON.

use crate::batch::{Batch, Json};
use crate::error::SubmitError;
use crate::operation::Operation;
use crate::queue::Queue;
use crate::submission::{self, SubmitOptions};
use crate::target::Target;
use std::any::Any;

impl Queue {
    /// Submits a batch to an operation of type `O` that is registered under `name`: see
    /// [`Builder::register_as`](crate::Builder::register_as). Otherwise as [`submit`](Self::submit).
    ///
    /// # Errors
    /// As [`submit`](Self::submit); [`SubmitError::UnknownOperation`] also when an operation of another
    /// type has the name.
    pub fn submit_as<O: Operation>(
        &self,
        name: &str,
        items: impl IntoIterator<Item = O::Item>,
    ) -> Result<Batch<O>, SubmitError> {
        self.submit_as_with(name, items, SubmitOptions::new())
    }

    /// As [`submit_as`](Self::submit_as), with options as in [`submit_with`](Self::submit_with).
    ///
    /// # Errors
    /// As [`submit_as`](Self::submit_as) and [`submit_with`](Self::submit_with).
    pub fn submit_as_with<O: Operation>(
        &self,
        name: &str,
        items: impl IntoIterator<Item = O::Item>,
        options: SubmitOptions,
    ) -> Result<Batch<O>, SubmitError> {
        let target = Target::of_type::<O>(self.shared(), name)?;
        self.send(submission::prepare(target, items, &options, self.limits())?)
    }

    /// Submits a batch to the operation that is registered under `name`, whatever its type is: for
    /// closures, see [`Builder::register_fn`](crate::Builder::register_fn). The items must be of its item
    /// type. Otherwise as [`submit`](Self::submit). An old name of an operation stands for it.
    ///
    /// ```
    /// use batchwright::{AtLeastOnce, Context, Queue, SubmitError};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let queue = Queue::builder(dir.path())
    ///     .register_fn("double", |n: u64, _: &mut Context<AtLeastOnce>| Ok(n * 2))
    ///     .open()?;
    /// let batch = queue.submit_named("double", [1_u64, 2, 3])?;
    /// assert_eq!(batch.wait()?.status.succeeded, 3);
    ///
    /// let refused = queue.submit_named("double", ["one"]);
    /// assert!(matches!(refused, Err(SubmitError::WrongItemType { expected: "u64", .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`SubmitError::WrongItemType`].
    pub fn submit_named<T: Any>(
        &self,
        name: &str,
        items: impl IntoIterator<Item = T>,
    ) -> Result<Batch<Json>, SubmitError> {
        self.submit_named_with(name, items, SubmitOptions::new())
    }

    /// As [`submit_named`](Self::submit_named), with options as in [`submit_with`](Self::submit_with).
    ///
    /// # Errors
    /// As [`submit_named`](Self::submit_named) and [`submit_with`](Self::submit_with).
    pub fn submit_named_with<T: Any>(
        &self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        options: SubmitOptions,
    ) -> Result<Batch<Json>, SubmitError> {
        let target = Target::taking::<T>(self.shared(), name)?;
        self.send(submission::prepare(target, items, &options, self.limits())?)
    }

    /// Submits a batch of items in JSON to the operation that is registered under `name`: for what comes
    /// in over a wire or from a file. An old name of an operation stands for it.
    ///
    /// `bytes` are UTF-8 without a byte order mark: an array of items, or an object whose `body` is one;
    /// its other members are not looked at. Each item is read as the operation's item type and stored as
    /// that type writes it, just as if it had been submitted as a value: what the type does not know is
    /// left out, and idempotency keys compare what is stored. Once there are more items than a batch may
    /// have, no more is read.
    ///
    /// ```
    /// use batchwright::{AtLeastOnce, Context, InvalidItem, Queue, SubmitError};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Parcel { to: String, grams: u32 }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let queue = Queue::builder(dir.path())
    ///     .register_fn("send", |parcel: Parcel, _: &mut Context<AtLeastOnce>| Ok(parcel.grams))
    ///     .open()?;
    /// let batch = queue.submit_json("send", r#"[{"to": "Ada", "grams": 500}]"#)?;
    /// assert_eq!(batch.wait()?.status.succeeded, 1);
    ///
    /// let refused = queue.submit_json("send", "{\"body\": [\n  {\"to\": \"Ada\", \"grams\": \"many\"}\n]}");
    /// let Err(SubmitError::Invalid { items }) = refused else { panic!("it was accepted") };
    /// assert_eq!(items[0].failure.code, InvalidItem::NOT_DECODABLE);
    /// assert_eq!(items[0].failure.field.as_deref(), Some("grams"));
    /// assert_eq!(items[0].position.map(|at| at.line), Some(2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit). [`SubmitError::InvalidJson`] when `bytes` are not what they should be;
    /// [`SubmitError::Invalid`] with every item that cannot be decoded
    /// ([`NOT_DECODABLE`](crate::InvalidItem::NOT_DECODABLE), or what
    /// [`Operation::undecodable`](Operation::undecodable) makes of it) or is not acceptable otherwise.
    pub fn submit_json(
        &self,
        name: &str,
        bytes: impl AsRef<[u8]>,
    ) -> Result<Batch<Json>, SubmitError> {
        self.submit_json_with(name, bytes, SubmitOptions::new())
    }

    /// As [`submit_json`](Self::submit_json), with options as in [`submit_with`](Self::submit_with).
    ///
    /// # Errors
    /// As [`submit_json`](Self::submit_json) and [`submit_with`](Self::submit_with).
    pub fn submit_json_with(
        &self,
        name: &str,
        bytes: impl AsRef<[u8]>,
        options: SubmitOptions,
    ) -> Result<Batch<Json>, SubmitError> {
        let target = Target::named(self.shared(), name)?;
        let bytes = bytes.as_ref();
        self.send(submission::prepare_json(
            target,
            bytes,
            &options,
            self.limits(),
        )?)
    }
}
