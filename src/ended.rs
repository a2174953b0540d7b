//! Awaiting a batch, under any async runtime.

use crate::batch::Batch;
use crate::error::WaitError;
use crate::process;
use crate::runtime::Seat;
use crate::status::Report;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The end of a batch, to be awaited: what `batch.await` and `(&batch).await` wait for.
///
/// Gives what [`Batch::wait`] gives, but for `WouldDeadlock`: polling does not block, so it may be polled
/// anywhere, also in a handler or a read of the same queue. (Blocking there until it is ready is the
/// deadlock that `wait` refuses.) In a queue [without workers](crate::Builder::without_workers) an unfinished
/// batch is ready only when somebody stops it, or the queue closes. Needs no particular runtime. Dropping it forgets its waker and leaves the
/// batch alone. It does not keep the queue open.
///
/// Wakers are mostly called on the thread that stores and answers everything. An executor that runs its tasks
/// inside its wakers holds up the queue for as long; what such a task would wait for there is refused with
/// `WouldDeadlock`.
///
/// ```
/// # use batchwright::{AtLeastOnce, Context, Failure, Operation, Queue};
/// # struct Double;
/// # impl Operation for Double {
/// #     const NAME: &'static str = "double";
/// #     type Item = u64;
/// #     type Output = u64;
/// #     type Guarantee = AtLeastOnce;
/// #     fn run(&self, n: u64, _cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> { Ok(n * 2) }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let queue = Queue::builder(dir.path()).register(Double).open()?;
/// # smol::block_on(async {
/// // Submitting blocks on the disk: a runtime's thread for blocking calls is the place for it.
/// let batch = queue.submit::<Double>([1, 2, 3])?;
/// let report = (&batch).await?;
/// assert_eq!(report.status.succeeded, 3);
/// # Ok(())
/// # })
/// # }
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct Ended<O> {
    batch: Batch<O>,
    seat: Option<Seat>,
}

impl<O> Ended<O> {
    fn settled(&mut self) -> Option<Result<Report, WaitError>> {
        let settled = self.batch.settled(&self.batch.live().progress())?;
        self.leave();
        Some(settled.and_then(|()| Ok(self.batch.report()?)))
    }

    fn leave(&mut self) {
        // In a forked child the lock may be held by a thread that does not exist.
        if !process::is_forked() {
            self.batch.live().waiters.leave(&mut self.seat);
        }
    }
}

impl<O> Future for Ended<O> {
    type Output = Result<Report, WaitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(settled) = self.settled() {
            return Poll::Ready(settled);
        }
        let Self { batch, seat } = &mut *self;
        batch.live().waiters.enlist(seat, cx.waker());
        // What came before that has woken nobody.
        match self.settled() {
            Some(settled) => Poll::Ready(settled),
            None => Poll::Pending,
        }
    }
}

impl<O> Drop for Ended<O> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<O> IntoFuture for Batch<O> {
    type Output = Result<Report, WaitError>;
    type IntoFuture = Ended<O>;

    fn into_future(self) -> Ended<O> {
        Ended {
            batch: self,
            seat: None,
        }
    }
}

impl<O> IntoFuture for &Batch<O> {
    type Output = Result<Report, WaitError>;
    type IntoFuture = Ended<O>;

    fn into_future(self) -> Ended<O> {
        self.clone().into_future()
    }
}

impl<O> fmt::Debug for Ended<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended")
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}
