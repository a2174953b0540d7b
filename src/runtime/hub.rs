//! Tells the events of a queue to those who subscribed to them.
//!
//! The writer tells, so telling waits for nobody: each subscriber has a buffer of its own, and one that is
//! full loses its oldest event.

use crate::events::QueueEvent;
use crate::waiting;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Hub {
    /// How many subscribers there are: telling nobody costs one look.
    count: AtomicUsize,
    subscribers: Mutex<Subscribers>,
}

#[derive(Debug, Default)]
struct Subscribers {
    /// No event comes after this.
    ended: bool,
    buffers: Vec<Arc<Buffer>>,
}

impl Hub {
    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribe(&self, capacity: usize) -> Arc<Buffer> {
        let buffer = Arc::new(Buffer::new(capacity));
        let mut subscribers = self.subscribers();
        if subscribers.ended {
            buffer.end();
        } else {
            subscribers.buffers.push(Arc::clone(&buffer));
            self.count
                .store(subscribers.buffers.len(), Ordering::SeqCst);
        }
        buffer
    }

    pub(crate) fn unsubscribe(&self, buffer: &Arc<Buffer>) {
        let mut subscribers = self.subscribers();
        subscribers
            .buffers
            .retain(|other| !Arc::ptr_eq(other, buffer));
        self.count
            .store(subscribers.buffers.len(), Ordering::SeqCst);
    }

    pub(crate) fn tell(&self, event: QueueEvent) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        self.subscribers().tell(&event);
    }

    /// Ends the events of this queue, with a last one or without. Only the first end counts.
    pub(crate) fn end(&self, last: Option<QueueEvent>) {
        let mut subscribers = self.subscribers();
        // After the first end there is nobody in here.
        if let Some(last) = last {
            subscribers.tell(&last);
        }
        subscribers.ended = true;
        self.count.store(0, Ordering::SeqCst);
        for buffer in subscribers.buffers.drain(..) {
            buffer.end();
        }
    }
}

impl Subscribers {
    fn tell(&self, event: &QueueEvent) {
        for buffer in &self.buffers {
            buffer.push(event.clone());
        }
    }
}

/// What one subscriber has not taken yet.
#[derive(Debug)]
pub(crate) struct Buffer {
    capacity: usize,
    content: Mutex<Content>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Content {
    events: VecDeque<QueueEvent>,
    missed: u64,
    ended: bool,
    sleeping: u32,
}

impl Buffer {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            content: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// One that has and gets no events.
    pub(crate) fn ended() -> Arc<Self> {
        let buffer = Self::new(0);
        buffer.end();
        Arc::new(buffer)
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: QueueEvent) {
        let mut content = self.content();
        if content.events.len() >= self.capacity {
            content.events.pop_front();
            content.missed += 1;
        }
        content.events.push_back(event);
        self.rouse(content);
    }

    fn end(&self) {
        let mut content = self.content();
        content.ended = true;
        self.rouse(content);
    }

    fn rouse(&self, content: MutexGuard<'_, Content>) {
        let sleeping = content.sleeping > 0;
        drop(content);
        if sleeping {
            self.changed.notify_all();
        }
    }

    pub(crate) fn try_take(&self) -> Option<QueueEvent> {
        self.content().events.pop_front()
    }

    /// Waits for an event; `None` when there will be none, or when `deadline` came first.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Option<QueueEvent> {
        let mut content = self.content();
        loop {
            if let Some(event) = content.events.pop_front() {
                return Some(event);
            }
            if content.ended {
                return None;
            }
            content.sleeping += 1;
            let woken = waiting::wait(&self.changed, content, deadline);
            let late = woken.is_none();
            content = woken.unwrap_or_else(|| self.content());
            content.sleeping -= 1;
            if late {
                return content.events.pop_front();
            }
        }
    }

    pub(crate) fn missed(&self) -> u64 {
        self.content().missed
    }

    /// Whether there is and will be no event.
    pub(crate) fn has_ended(&self) -> bool {
        let content = self.content();
        content.ended && content.events.is_empty()
    }
}
