//! What clients ask for, and what they are answered.

use super::known::{Fate, Known, Stop, Submission};
use super::{Checker, Final, Held, Rule, Violation, hold};
use crate::testing::simulation::item::Item;
use crate::testing::simulation::kind::Kind;

/// Why a batch is known: its submitter was told.
const ACKNOWLEDGED: &str = "acknowledged";

/// A submission.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::testing::simulation) struct Content {
    pub(in crate::testing::simulation) kind: Kind,
    pub(in crate::testing::simulation) items: Vec<Item>,
    pub(in crate::testing::simulation) priority: i8,
    pub(in crate::testing::simulation) not_before_ms: Option<u64>,
    /// The idempotency key.
    pub(in crate::testing::simulation) key: Option<u8>,
    /// The batch whose failed items these are.
    pub(in crate::testing::simulation) retry_of: Option<u64>,
}

/// What is asked for.
#[derive(Debug, Clone, Hash)]
pub(in crate::testing::simulation) enum Ask {
    Submit(Content),
    Stop(u64),
    Resume(u64),
    Delete(u64),
    FailUndecodable(u64),
    /// An item in doubt, and what became of it.
    Resolve(u64, u16, Final),
    Pause(Kind),
    Unpause(Kind),
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::testing::simulation) enum Answer {
    /// It is durable; for a submission, this batch.
    Batch(u64),
    /// The batch that has the idempotency key.
    Before(u64),
    /// This batch has the idempotency key, with other items.
    Conflict(u64),
    Done,
    /// So many batches are deleted.
    Deleted(u64),
    NotFound,
    /// Nothing is stored.
    Refused,
    /// The queue has failed or closed, and cannot say.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Request {
    ask: Asked,
    /// Of a stop or resume: what had been asked for of the batch before.
    before: Before,
}

/// What was asked for of a batch before a stop or resume.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    resumes: u64,
    stops: u64,
    /// A request of the other kind had no answer yet: either may take effect first.
    is_beside: bool,
    /// A stop held for certain.
    held: bool,
}

#[derive(Debug, Clone)]
enum Asked {
    Submission(usize),
    Stop(u64),
    Resume(u64),
    Delete(u64),
    FailUndecodable(u64),
    Resolve(u64, u16, Final),
    Pause(Kind),
    Unpause(Kind),
}

impl Checker {
    /// The number that the next submission has.
    pub(in crate::testing::simulation) fn next_submission(&self) -> usize {
        self.submissions.len()
    }

    /// What was first submitted under an idempotency key.
    pub(in crate::testing::simulation) fn submitted_under(
        &self,
        kind: Kind,
        key: u8,
    ) -> Option<&Content> {
        let mut contents = self.submissions.iter().map(|s| &s.content);
        contents.find(|content| (content.kind, content.key) == (kind, Some(key)))
    }

    /// Whether failed items of the batch are about to be run again.
    pub(in crate::testing::simulation) fn is_being_retried(&self, batch: u64) -> bool {
        self.requests.values().any(|request| match request.ask {
            Asked::Submission(n) => self.submissions[n].content.retry_of == Some(batch),
            _ => false,
        })
    }

    /// The items of a batch at these places.
    pub(in crate::testing::simulation) fn items_at(&self, batch: u64, places: &[u16]) -> Vec<Item> {
        let Some(known) = self.batches.get(&batch) else {
            return Vec::new();
        };
        let items = &self.content(known).items;
        places.iter().map(|at| items[usize::from(*at)]).collect()
    }

    /// The number of the next request.
    pub(in crate::testing::simulation) fn next_request(&self) -> u64 {
        self.next_request
    }

    /// Notes a request.
    pub(in crate::testing::simulation) fn asked(&mut self, ask: Ask) {
        let mut before = Before::default();
        let ask = match ask {
            Ask::Submit(content) => {
                let fate = Fate::Open;
                self.submissions.push(Submission {
                    content,
                    fate,
                    crashes_before: self.crashes,
                });
                Asked::Submission(self.submissions.len() - 1)
            }
            Ask::Stop(batch) => {
                if let Some(known) = self.batches.get_mut(&batch) {
                    let stop = &mut known.stop;
                    before = stop.before(stop.resumes_open > 0);
                    stop.may_hold = true;
                    stop.ever = true;
                    stop.stops += 1;
                    stop.stops_open += 1;
                }
                Asked::Stop(batch)
            }
            Ask::Resume(batch) => {
                if let Some(known) = self.batches.get_mut(&batch) {
                    let stop = &mut known.stop;
                    before = stop.before(stop.stops_open > 0);
                    stop.resumes += 1;
                    stop.resumes_open += 1;
                    stop.may_hold |= std::mem::take(&mut stop.holds);
                }
                Asked::Resume(batch)
            }
            Ask::Delete(batch) => {
                if let Some(known) = self.batches.get_mut(&batch) {
                    known.may_be_gone = true;
                }
                Asked::Delete(batch)
            }
            Ask::FailUndecodable(batch) => {
                if let Some(known) = self.batches.get_mut(&batch) {
                    known.may_fail_undecodable = true;
                }
                Asked::FailUndecodable(batch)
            }
            Ask::Resolve(batch, index, end) => {
                if let Some(known) = self.batches.get_mut(&batch) {
                    let resolutions = known.resolutions.entry(index).or_default();
                    resolutions.asked.push(end.clone());
                }
                Asked::Resolve(batch, index, end)
            }
            Ask::Pause(kind) => {
                let pause = self.pauses.entry(kind).or_default();
                pause.may_hold = true;
                pause.pauses_open += 1;
                Asked::Pause(kind)
            }
            Ask::Unpause(kind) => {
                let pause = self.pauses.entry(kind).or_default();
                pause.may_hold |= std::mem::take(&mut pause.holds);
                pause.unpauses_open += 1;
                Asked::Unpause(kind)
            }
        };
        let request = Request { ask, before };
        self.requests.insert(self.next_request, request);
        self.next_request += 1;
    }

    pub(in crate::testing::simulation) fn answered(
        &mut self,
        request: u64,
        answer: Answer,
    ) -> Held {
        let Some(request) = self.requests.remove(&request) else {
            return Ok(());
        };
        if answer == Answer::Unknown {
            self.unanswered(&request);
            return Ok(());
        }
        match request.ask {
            Asked::Submission(number) => self.submission_answered(number, answer),
            Asked::Stop(batch) => self.stop_answered(batch, &request, answer),
            Asked::Resume(batch) => self.resume_answered(batch, &request, answer),
            Asked::Delete(batch) => self.delete_answered(batch, answer),
            Asked::FailUndecodable(batch) => self.there_unless_gone(batch, answer),
            Asked::Resolve(batch, index, end) => {
                self.resolve_answered(batch, index, end, answer)?;
                self.there_unless_gone(batch, answer)
            }
            Asked::Pause(kind) => {
                let pause = self.pauses.entry(kind).or_default();
                pause.pauses_open -= 1;
                if answer == Answer::Done && pause.unpauses_open == 0 {
                    pause.holds = true;
                }
                Ok(())
            }
            Asked::Unpause(kind) => {
                let pause = self.pauses.entry(kind).or_default();
                pause.unpauses_open -= 1;
                if answer == Answer::Done && pause.pauses_open == 0 && !pause.holds {
                    pause.may_hold = false;
                }
                Ok(())
            }
        }
    }

    /// The request may be in force or not; the next look after a restart tells.
    pub(super) fn unanswered(&mut self, request: &Request) {
        match request.ask {
            Asked::Stop(batch) | Asked::Resume(batch) => {
                if let Some(known) = self.batches.get_mut(&batch) {
                    let stop = &mut known.stop;
                    match request.ask {
                        Asked::Stop(_) => stop.stops_open = stop.stops_open.saturating_sub(1),
                        _ => stop.resumes_open = stop.resumes_open.saturating_sub(1),
                    }
                }
            }
            Asked::Pause(kind) => self.pauses.entry(kind).or_default().pauses_open -= 1,
            Asked::Unpause(kind) => self.pauses.entry(kind).or_default().unpauses_open -= 1,
            Asked::Delete(batch) => {
                if let Some(known) = self.batches.get_mut(&batch) {
                    known.may_stay_gone = true;
                }
            }
            Asked::Submission(_) | Asked::FailUndecodable(_) | Asked::Resolve(..) => {}
        }
    }

    fn submission_answered(&mut self, number: usize, answer: Answer) -> Held {
        match answer {
            Answer::Batch(batch) => self.bind(batch, number, ACKNOWLEDGED),
            Answer::Before(batch) | Answer::Conflict(batch) => {
                self.refuse(number)?;
                let Some(first) = self.batch_of_key(batch, number)? else {
                    return Ok(());
                };
                let same =
                    self.submissions[first].content.items == self.submissions[number].content.items;
                let said = matches!(answer, Answer::Before(_));
                hold(Rule::KeyIsOneBatch, same == said, || {
                    format!("submission {number} was answered {answer:?}")
                })
            }
            _ => self.refuse(number),
        }
    }

    /// The submission that made the batch that is said to have the key of submission `number`.
    fn batch_of_key(&mut self, batch: u64, number: usize) -> Result<Option<usize>, Violation> {
        let content = &self.submissions[number].content;
        let key = content.key.map(|key| (content.kind, key));
        if let Some(known) = self.batches.get(&batch) {
            let has = self.content(known);
            let found = has.key.map(|key| (has.kind, key));
            hold(Rule::KeyIsOneBatch, key == found, || {
                format!("batch {batch} is said to have the key of submission {number}")
            })?;
            return Ok(Some(known.submission));
        }
        // It may be that of a submission that has not heard of it, or could not.
        let open = self.submissions.iter().position(|other| {
            let has = other.content.key.map(|key| (other.content.kind, key));
            other.fate == Fate::Open && has == key
        });
        hold(Rule::KeyIsOneBatch, open.is_some(), || {
            format!(
                "nobody knows batch {batch}, which is said to have the key of submission {number}"
            )
        })?;
        Ok(None)
    }

    fn refuse(&mut self, number: usize) -> Held {
        if let Fate::Batch(batch) = self.submissions[number].fate {
            // Of equal submissions under one key nobody could tell whose the batch is, before the answers.
            let twin = self.twin_of(batch);
            hold(Rule::RefusedIsNotStored, twin.is_some(), || {
                format!("submission {number} was refused and is batch {batch}")
            })?;
            if let (Some(twin), Some(known)) = (twin, self.batches.get_mut(&batch)) {
                known.submission = twin;
                self.submissions[twin].fate = Fate::Batch(batch);
            }
        }
        self.submissions[number].fate = Fate::Refused;
        Ok(())
    }

    /// Another submission that the batch may just as well be, unless it is known whose it is.
    fn twin_of(&self, batch: u64) -> Option<usize> {
        let known = self.batches.get(&batch)?;
        let content = self.content(known);
        let twin = |other: &Submission| other.fate == Fate::Open && other.content == *content;
        let found = self.submissions.iter().position(twin);
        found.filter(|_| known.certain != ACKNOWLEDGED && content.key.is_some())
    }

    /// The submission is this batch.
    pub(super) fn bind(&mut self, batch: u64, number: usize, certain: &'static str) -> Held {
        let twin = self.twin_of(batch);
        if let Some(known) = self.batches.get_mut(&batch) {
            let other = known.submission;
            if other != number && twin == Some(number) {
                known.submission = number;
                self.submissions[number].fate = Fate::Batch(batch);
                self.submissions[other].fate = Fate::Open;
            }
            if certain == ACKNOWLEDGED {
                known.certain = certain;
            }
            return hold(
                Rule::SubmissionIsOneBatch,
                known.submission == number,
                || format!("batch {batch} is that of submissions {other} and {number}"),
            );
        }
        let submission = &mut self.submissions[number];
        match submission.fate {
            Fate::Open => submission.fate = Fate::Batch(batch),
            Fate::Refused => {
                return hold(Rule::RefusedIsNotStored, false, || {
                    format!("submission {number} was refused and is batch {batch}")
                });
            }
            Fate::Batch(other) => {
                return hold(Rule::SubmissionIsOneBatch, false, || {
                    format!("submission {number} is batches {other} and {batch}")
                });
            }
        }
        let content = &submission.content;
        if let Some(key) = content.key.map(|key| (content.kind, key)) {
            let first = *self.keys.entry(key).or_insert(batch);
            hold(Rule::KeyIsOneBatch, first == batch, || {
                format!("batches {first} and {batch} have the idempotency key {key:?}")
            })?;
        }
        let parent = content
            .retry_of
            .and_then(|parent| self.batches.get(&parent));
        let mut known = Known::new(number, certain, content.items.len());
        known.is_new = content.retry_of.is_none();
        known.may_fail_undecodable = parent.is_some_and(Known::has_failed_undecodable);
        self.batches.insert(batch, known);
        Ok(())
    }

    fn stop_answered(&mut self, batch: u64, request: &Request, answer: Answer) -> Held {
        if let Some(known) = self.batches.get_mut(&batch) {
            let (stop, before) = (&mut known.stop, request.before);
            stop.stops_open = stop.stops_open.saturating_sub(1);
            let is_alone = !before.is_beside && stop.resumes == before.resumes;
            stop.holds |= answer == Answer::Done && is_alone;
        }
        Ok(())
    }

    fn resume_answered(&mut self, batch: u64, request: &Request, answer: Answer) -> Held {
        if let Some(known) = self.batches.get_mut(&batch) {
            let (stop, before) = (&mut known.stop, request.before);
            stop.resumes_open = stop.resumes_open.saturating_sub(1);
            let is_last = stop.resumes == before.resumes + 1;
            let is_alone = !before.is_beside && stop.stops == before.stops;
            if answer == Answer::Done {
                stop.may_hold &= !(is_last && is_alone);
            } else {
                // It changed nothing.
                stop.holds |= before.held && is_last;
            }
        }
        self.there_unless_gone(batch, answer)
    }

    fn delete_answered(&mut self, batch: u64, answer: Answer) -> Held {
        self.there_unless_gone(batch, answer)?;
        let another = |request: &Request| matches!(request.ask, Asked::Delete(b) if b == batch);
        let is_last = !self.requests.values().any(another);
        if let Some(known) = self.batches.get_mut(&batch) {
            match answer {
                Answer::Deleted(1) => known.gone = true,
                _ => known.may_be_gone &= !is_last || known.may_stay_gone,
            }
        }
        Ok(())
    }

    fn resolve_answered(&mut self, batch: u64, index: u16, end: Final, answer: Answer) -> Held {
        let Some(known) = self.batches.get_mut(&batch) else {
            return Ok(());
        };
        let resolutions = known.resolutions.entry(index).or_default();
        if answer != Answer::Done {
            let asked = &mut resolutions.asked;
            if let Some(at) = asked.iter().position(|asked| *asked == end) {
                asked.remove(at);
            }
            return Ok(());
        }
        let before = resolutions.done.replace(end);
        hold(Rule::ResolutionIsKept, before.is_none(), || {
            format!("item {index} of batch {batch} is resolved twice, first as {before:?}")
        })
    }

    fn there_unless_gone(&self, batch: u64, answer: Answer) -> Held {
        let known = self.batches.get(&batch);
        let may_be_gone = known.is_none_or(|known| known.gone || known.may_be_gone);
        hold(
            Rule::BatchIsKept,
            may_be_gone || answer != Answer::NotFound,
            || format!("batch {batch} is said not to be there"),
        )
    }
}

impl Stop {
    fn before(&self, is_beside: bool) -> Before {
        Before {
            resumes: self.resumes,
            stops: self.stops,
            is_beside,
            held: self.holds,
        }
    }
}
