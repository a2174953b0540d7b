//! What is submitted: items that say themselves how they end.

use serde::{Deserialize, Serialize};

/// One entry of a submission. Its JSON is a list of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Numbers", try_from = "Numbers")]
pub(super) struct Item {
    /// The submission that it was first in, and its place there: unique in a run.
    pub(super) submission: u32,
    pub(super) index: u16,
    pub(super) script: Script,
    /// The attempt that the script is about; those before it fail and may be repeated.
    pub(super) at: u32,
    /// Items with the same key run one after the other.
    pub(super) key: Option<u8>,
    pub(super) account: u8,
    pub(super) amount: u64,
}

/// What the handler does with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Script {
    Succeed,
    Fail,
    Panic,
    /// Fails, and succeeds when it runs again in another batch.
    FailOnce,
    /// Succeeds, after longer than handlers may take.
    Slow,
    /// Ends the process, and succeeds when it runs again in another batch.
    Crash,
    /// Cannot be decoded.
    Unreadable,
}

type Numbers = (u32, u16, u8, u32, u8, u8, u64);

const SCRIPTS: [Script; 7] = [
    Script::Succeed,
    Script::Fail,
    Script::Panic,
    Script::FailOnce,
    Script::Slow,
    Script::Crash,
    Script::Unreadable,
];

const NO_KEY: u8 = u8::MAX;

impl From<Item> for Numbers {
    fn from(item: Item) -> Self {
        let place = SCRIPTS.iter().position(|script| *script == item.script);
        let script = u8::try_from(place.unwrap_or(0)).unwrap_or(0);
        let key = item.key.unwrap_or(NO_KEY);
        let Item {
            submission,
            index,
            at,
            account,
            amount,
            ..
        } = item;
        (submission, index, script, at, key, account, amount)
    }
}

impl TryFrom<Numbers> for Item {
    type Error = &'static str;

    fn try_from(numbers: Numbers) -> Result<Self, Self::Error> {
        let item = Self::from_numbers(numbers).ok_or("no such script")?;
        match item.script {
            Script::Unreadable => Err("unreadable, as it was told to be"),
            _ => Ok(item),
        }
    }
}

impl Item {
    /// As it was submitted, whether or not a handler can read it.
    fn from_numbers(
        (submission, index, script, at, key, account, amount): Numbers,
    ) -> Option<Self> {
        Some(Self {
            submission,
            index,
            script: *SCRIPTS.get(usize::from(script))?,
            at,
            key: (key != NO_KEY).then_some(key),
            account,
            amount,
        })
    }

    /// As it was stored.
    pub(super) fn from_stored(json: serde_json::Value) -> Option<Self> {
        Self::from_numbers(serde_json::from_value(json).ok()?)
    }

    pub(super) fn is_readable(&self) -> bool {
        self.script != Script::Unreadable
    }

    /// What its handler does in an attempt of a batch that runs it again or for the first time.
    pub(super) fn act(&self, attempt: u32, again: bool) -> Act {
        if attempt < self.at {
            return Act::TryAgain;
        }
        match self.script {
            Script::Succeed | Script::Slow => Act::Succeed,
            Script::FailOnce | Script::Crash if again => Act::Succeed,
            Script::Panic => Act::Panic,
            Script::Crash => Act::Crash,
            Script::Fail | Script::FailOnce | Script::Unreadable => Act::Fail,
        }
    }
}

/// What a handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Succeed,
    TryAgain,
    Fail,
    Panic,
    /// The process ends.
    Crash,
    /// Gives up, because a table call says that its time is up.
    GiveUp,
}

impl Act {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Succeed => "succeeded",
            Self::TryAgain => "to be tried again",
            Self::Fail => "failed",
            Self::Panic => "panicked",
            Self::Crash => "crashed",
            Self::GiveUp => "gave up",
        }
    }
}
