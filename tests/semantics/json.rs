//! Submitting items as JSON.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Mail, SOON, Tested, fresh, never, outputs, queue_on,
};
use batchwright::limits::{Limits, PAYLOAD_BYTES};
use batchwright::{
    AtLeastOnce, BatchFilter, Context, Failure, InvalidItem, Operation, Position, Queue,
    SubmitError, SubmitOptions, WaitError,
};
use proptest::prelude::*;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

fn stored(queue: &Queue, operation: &str) -> usize {
    queue
        .batches(BatchFilter::all().operation(operation))
        .count()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Parcel {
    to: Vec<String>,
    grams: u32,
    #[serde(default)]
    price: Option<f64>,
}

struct Send;

impl Operation for Send {
    const NAME: &'static str = "send";
    type Item = Parcel;
    type Output = Parcel;
    type Guarantee = AtLeastOnce;

    fn run(&self, parcel: Parcel, _: &mut Context<AtLeastOnce>) -> Result<Parcel, Failure> {
        Ok(parcel)
    }

    fn validate(&self, parcel: &Parcel) -> Result<(), Failure> {
        match parcel.grams {
            0 => Err(Failure::permanent("weightless", "0 g").field("grams")),
            _ => Ok(()),
        }
    }
}

fn parcel(to: &[&str], grams: u32, price: Option<f64>) -> Parcel {
    let to = to.iter().map(|line| (*line).to_owned()).collect();
    Parcel { to, grams, price }
}

#[test]
fn items_in_json_are_the_items_as_values() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(Send).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let items = || [parcel(&["Ada", "é"], 5, None), parcel(&[], 7, Some(0.1))];
    let key = |key: &str| SubmitOptions::new().idempotency_key(key);
    let array = r#"[{"to": ["Ada", "\u00e9"], "grams": 5},
        {"price": 0.10, "grams": 7, "colour": {"unknown": []}, "to": []}]"#;
    let object = format!(r#"{{"head": [1, {{}}], "\u0062ody": {array}, "foot": "\"body\": 1"}}"#);
    for (n, json) in [array, &object].into_iter().enumerate() {
        let batch = queue.submit_json("send", json)?;
        batch.ends()?;
        assert_eq!(outputs(&batch.typed::<Send>()?)?, items());
        let name = format!("key {n}");
        let first = queue.submit_json_with("send", json, key(&name))?;
        let value = queue.submit_with::<Send>(items(), key(&name))?;
        assert_eq!(value.id(), first.id());
        let other = queue.submit_json_with("send", r#"[{"to": [], "grams": 7}]"#, key(&name));
        assert!(matches!(other, Err(SubmitError::KeyConflict { .. })));
        first.ends()?;
    }
    let owned = SubmitOptions::new().owner("ann");
    let owned = queue.submit_json_with("send", array.as_bytes(), owned)?;
    assert_eq!(owned.status()?.owner.as_deref(), Some("ann"));
    owned.ends()?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn the_keys_of_items_in_json_order_them() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        if n == 1 {
            at.pass();
        }
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(call.key(|n| (n < 10).then(|| "same".to_owned())))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let first = queue.submit_json("call", "[1, 2]")?;
    door.wait_for(1);
    let behind = queue.submit::<Call>([3])?;
    queue.submit_json("call", "[10]")?.ends()?;
    never(|| behind.status().is_ok_and(|status| status.succeeded > 0));
    door.open();
    first.ends()?;
    behind.ends()?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn what_is_not_json_of_items_is_refused_with_its_place() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(Send).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let commits = disk.commits();
    let cases: [(&[u8], usize, usize, &str); 17] = [
        (b"", 1, 1, "EOF"),
        (b"\n\n", 3, 1, "EOF"),
        (b"parcels", 1, 1, "expected value"),
        (b"[{\"to\": []\n,, }]", 2, 2, "key must be a string"),
        (b"[1, 2", 1, 5, "EOF"),
        (b"[1, 2]\n ]", 2, 2, "trailing characters"),
        (b"[{}]{}", 1, 5, "trailing characters"),
        (b"[]\0", 1, 3, "trailing characters"),
        (b"17", 1, 2, "an array of items, or an object"),
        (b"\"[]\"", 1, 4, "an array of items, or an object"),
        (b"null", 1, 4, "an array of items, or an object"),
        (b"{\"items\": []}", 1, 13, "no \"body\""),
        (b"{\"body\": [],\n\"body\": []}", 2, 6, "\"body\" twice"),
        (b"{\"body\": {}}", 1, 9, "an array of items"),
        (b"{\"x\": [[{\"body\": []}]]}", 1, 23, "no \"body\""),
        (b"\xef\xbb\xbf[]", 1, 1, "byte order mark"),
        (b"[\"\xc3\xa9\n\", \"\xff\"]", 2, 5, "not UTF-8"),
    ];
    for (bytes, line, column, reason) in cases {
        let text = String::from_utf8_lossy(bytes);
        match queue.submit_json("send", bytes).map(|batch| batch.id()) {
            Err(SubmitError::InvalidJson {
                position: at,
                reason: found,
            }) => {
                assert!(found.contains(reason), "{text}: {found}");
                assert!(!found.contains(" at line "), "{text}: {found}");
                assert_eq!((at.line, at.column), (line, column), "{text}: {found}");
            }
            other => return Err(format!("{text}: {other:?}").into()),
        }
    }
    let empty = [&b"[]"[..], b"{\"body\": []}"];
    for bytes in empty {
        let refused = queue.submit_json("send", bytes).map(|batch| batch.id());
        assert_eq!(refused, Err(SubmitError::Empty));
    }
    let unknown = queue.submit_json("nothing", "not looked at");
    assert!(matches!(unknown, Err(SubmitError::UnknownOperation { .. })));
    assert_eq!((disk.commits(), stored(&queue, "send")), (commits, 0));
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// The refused items of a submission: index, code, field, line and column.
type Refused = Vec<(u64, String, Option<String>, Option<(usize, usize)>)>;

fn refused(queue: &Queue, operation: &str, json: &str) -> Result<Refused, String> {
    match queue.submit_json(operation, json) {
        Err(SubmitError::Invalid { items }) => Ok(items
            .into_iter()
            .map(|item| {
                let at = item
                    .position
                    .map(|Position { line, column, .. }| (line, column));
                (item.index, item.failure.code, item.failure.field, at)
            })
            .collect()),
        other => Err(format!("{:?}", other.map(|batch| batch.id()))),
    }
}

#[test]
fn every_bad_item_is_reported_with_its_path_and_place() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(Send).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let commits = disk.commits();
    let large = "x".repeat(PAYLOAD_BYTES);
    let json = format!(
        r#"{{"body": [
  {{"to": [], "grams": 1}},
  {{"to": ["Ada", 2], "grams": 1}}, {{"to": [], "grams": 0}},
  {{"to": [],
     "grams": "many"}},
  [],   "text",
  {{"grams": 5}},
  {{"to": ["{large}"], "grams": 1}},
  {{"to": [], "grams": 1, "price": "free"}}
]}}"#
    );
    let bad = |index, code: &str, field: Option<&str>, at| {
        (index, code.to_owned(), field.map(str::to_owned), Some(at))
    };
    let not = InvalidItem::NOT_DECODABLE;
    let expected = [
        bad(1, not, Some("to[1]"), (3, 18)),
        bad(2, "weightless", Some("grams"), (3, 35)),
        bad(3, not, Some("grams"), (5, 20)),
        bad(4, not, None, (6, 4)),
        bad(5, not, None, (6, 14)),
        bad(6, not, None, (7, 14)),
        bad(7, InvalidItem::TOO_LARGE, None, (8, 3)),
        bad(8, not, Some("price"), (9, 40)),
    ];
    assert_eq!(refused(&queue, "send", &json)?, expected);
    let values = queue.submit::<Send>([parcel(&[], 0, None)]);
    let Err(SubmitError::Invalid { items }) = values else {
        return Err("it was accepted".into());
    };
    assert_eq!(items[0].position, None);
    assert_eq!((disk.commits(), stored(&queue, "send")), (commits, 0));
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Numbers below 100, with a say in what is told of others.
struct Pick;

impl Operation for Pick {
    const NAME: &'static str = "pick";
    type Item = Small;
    type Output = u8;
    type Guarantee = AtLeastOnce;

    fn run(&self, Small { n }: Small, _: &mut Context<AtLeastOnce>) -> Result<u8, Failure> {
        Ok(n)
    }

    fn validate(&self, Small { n }: &Small) -> Result<(), Failure> {
        match n {
            100.. => Err(Failure::permanent("E2", "too much")),
            _ => Ok(()),
        }
    }

    fn undecodable(&self, json: &str, failure: Failure) -> Failure {
        assert!(!json.contains("panic"), "nothing can be said of it");
        if json.contains("as it is") {
            return failure;
        }
        let engine = failure.code;
        let told = Failure::retryable("E1", format!("{json} ({engine})"));
        match failure.field {
            Some(field) => told.field(format!("body.{field}")),
            None => told,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Small {
    n: u8,
}

#[test]
fn an_operation_says_what_is_reported_of_items_that_cannot_be_decoded() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Pick)
        .register_as("again", Pick)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let commits = disk.commits();
    let json =
        "[{\"n\": 1},\n {\"n\": 300}, {\"n\": 200},\n {\"n\": \"as it is\"},\n \"panic\", [ ]]";
    let not = InvalidItem::NOT_DECODABLE;
    let bad = |index, code: &str, field: Option<&str>, at| {
        (index, code.to_owned(), field.map(str::to_owned), Some(at))
    };
    let expected = [
        bad(1, "E1", Some("body.n"), (2, 10)),
        bad(2, "E2", None, (2, 14)),
        bad(3, not, Some("n"), (3, 17)),
        bad(4, InvalidItem::PANICKED, None, (4, 8)),
        bad(5, "E1", None, (4, 13)),
    ];
    for name in ["pick", "again"] {
        assert_eq!(refused(&queue, name, json)?, expected);
    }
    let Err(SubmitError::Invalid { items }) = queue.submit_json("pick", json) else {
        return Err("it was accepted".into());
    };
    let failure = Failure::retryable("E1", format!("{{\"n\": 300}} ({not})")).field("body.n");
    assert_eq!(items[0].failure, failure);
    let panicked = &items[3].failure;
    assert!(panicked.message.contains("panicked"), "{panicked}");
    assert_eq!((disk.commits(), stored(&queue, "pick")), (commits, 0));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn of_stored_items_that_cannot_be_decoded_the_engine_says_what_it_always_says() -> Tested {
    let (disk, clock) = fresh();
    let any = |_: serde_json::Value, _: &mut Context<AtLeastOnce>| Ok(());
    let queue = queue_on(&clock)
        .register_fn("pick", any)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    queue.pause("pick", "until the deploy")?;
    let batch = queue.submit_json("pick", "[\"no number\"]")?.id();
    queue.shutdown(AMPLE)?;
    let queue = queue_on(&clock).register(Pick).open_in_memory(&disk)?;
    queue.unpause("pick")?;
    let batch = queue.batch(batch)?;
    let Err(WaitError::Undecodable { reason, .. }) = batch.wait_timeout(SOON) else {
        return Err(format!("it is {:?}", batch.status()).into());
    };
    assert!(reason.contains("expected struct Small"), "{reason}");
    assert!(!reason.contains(InvalidItem::NOT_DECODABLE), "{reason}");
    batch.fail_undecodable()?;
    assert_eq!(batch.ends()?.failures[Failure::UNREADABLE_ITEM], 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}

static DECODED: AtomicUsize = AtomicUsize::new(0);

/// Counts how often one is decoded.
#[derive(Serialize)]
struct Counted(u64);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        match u64::deserialize(deserializer)? {
            13 => panic!("13 cannot be decoded"),
            14 => Err(D::Error::custom("14 is not wanted")),
            n => Ok(Self(n)),
        }
    }
}

#[test]
fn past_the_limit_of_items_nothing_is_decoded_or_read() -> Tested {
    let (disk, clock) = fresh();
    let mut limits = Limits::default();
    limits.items_per_batch = 3;
    let count = |n: Counted, _: &mut Context<AtLeastOnce>| Ok(n.0);
    let queue = queue_on(&clock)
        .limits(limits)
        .register_fn("count", count)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    for json in ["[1,2,3,4]", "[1,2,3,4 and no JSON", "{\"body\": [1,2,3,4"] {
        let refused = queue.submit_json("count", json).map(|batch| batch.id());
        assert_eq!(
            refused,
            Err(SubmitError::TooManyItems { limit: 3 }),
            "{json}"
        );
    }
    // Nor is anything before it is known to be JSON.
    let broken = queue.submit_json("count", "[1,2,3");
    assert!(matches!(broken, Err(SubmitError::InvalidJson { .. })));
    assert_eq!(DECODED.load(Ordering::Relaxed), 0);
    let bad: Vec<_> = refused(&queue, "count", "[13, 1, 14]")?;
    let codes: Vec<_> = bad.iter().map(|(n, code, ..)| (*n, &**code)).collect();
    assert_eq!(
        codes,
        [(0, InvalidItem::PANICKED), (2, InvalidItem::NOT_DECODABLE)]
    );
    let batch = queue.submit_json("count", "[1, 2, 3]")?;
    batch.ends()?;
    assert_eq!(outputs(&batch)?, [json!(1), json!(2), json!(3)]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn hostile_items_are_bad_items_and_no_more() -> Tested {
    let (disk, clock) = fresh();
    let any = |_: serde_json::Value, _: &mut Context<AtLeastOnce>| Ok(());
    let queue = queue_on(&clock)
        .register(Send)
        .register_fn("any", any)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let commits = disk.commits();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(50_000), "}".repeat(50_000));
    let long = "x".repeat(1 << 20);
    for (operation, item) in [
        ("any", deep.as_str()),
        ("any", &objects),
        ("any", "1e999"),
        ("any", r#""\ud800""#),
        ("send", r#"{"to": [], "grams": 1, "grams": 2}"#),
        ("send", r#"{"to": [], "grams": 99999999999999999999999}"#),
        ("send", r#"{"to": [], "grams": 1, "price": 1e999}"#),
        ("send", &format!(r#"{{"to": [], "grams": "{long}"}}"#)),
    ] {
        let start = item.get(..60).unwrap_or(item);
        let bad = refused(&queue, operation, &format!("[{item}]"))?;
        let codes: Vec<_> = bad.iter().map(|(_, code, ..)| &**code).collect();
        assert_eq!(codes, [InvalidItem::NOT_DECODABLE], "{start}");
    }
    // What is repeated of an item in an error has its limit.
    let json = format!(r#"[{{"to": [], "grams": "{long}"}}]"#);
    let error = queue.submit_json("send", json).err().ok_or("accepted")?;
    assert!(error.to_string().len() < 5_000);
    assert!(error.to_string().contains("item 0 at line 1, column "));
    // Outside of the items it does not matter.
    let json = format!(r#"{{"deep": {deep}, "body": [], "huge": 1e999}}"#);
    let outside = queue.submit_json("send", json).map(|batch| batch.id());
    assert_eq!(outside, Err(SubmitError::Empty));
    assert_eq!(disk.commits(), commits);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn json_meets_a_full_queue_a_read_and_a_closed_queue_as_values_do() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let mail = Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let mut limits = Limits::default();
    // The bystander takes one place.
    limits.unfinished_batches = 2;
    let queue = queue_on(&clock)
        .limits(limits)
        .register(mail)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let first = queue.submit_json("mail", "[1]")?;
    door.wait_for(1);
    let full = queue.submit_json("mail", "[2]").map(|batch| batch.id());
    assert_eq!(full, Err(SubmitError::Full { limit: 2 }));
    let named = queue.submit_named("mail", [2_u64]).map(|batch| batch.id());
    assert_eq!(named, Err(SubmitError::Full { limit: 2 }));
    door.open();
    first.ends()?;
    let inside = queue.read(|_| Ok(queue.submit_json("mail", "[2]").map(|batch| batch.id())))?;
    assert_eq!(inside, Err(SubmitError::WouldDeadlock));
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;
    let closed = queue.submit_json("mail", "[2]").map(|batch| batch.id());
    assert_eq!(closed, Err(SubmitError::Closed));
    Ok(())
}

/// JSON, mostly of parcels, whole and broken.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        r#"{"to":["Ada"],"grams":1}"#,
        r#"{"to":[],"grams":-1}"#,
        r#"{"body":["#,
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "\"body\"",
        "\"",
        "\\u00e9",
        "\\ud800",
        "1e400",
        "null",
        "\n",
        "\u{feff}",
        "é",
    ]);
    let pieces = prop::collection::vec(pieces, 0..8).prop_map(|parts| parts.concat().into_bytes());
    let whole = (0..4_usize, any::<bool>()).prop_map(|(items, wrapped)| {
        let items = vec![r#"{"to":["Ada"],"grams":1}"#; items].join(",");
        if wrapped {
            format!("{{\"body\":[{items}]}}").into_bytes()
        } else {
            format!("[{items}]").into_bytes()
        }
    });
    let bent = (whole.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        },
    );
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        pieces,
        whole,
        bent
    ]
}

/// What [`Queue::submit_json`] should make of bytes that it accepts, found in another way.
fn parcels(bytes: &[u8]) -> Option<Vec<Parcel>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Document {
        Items(Vec<Parcel>),
        Object { body: Vec<Parcel> },
    }
    match serde_json::from_slice(bytes).ok()? {
        Document::Items(items) | Document::Object { body: items } => Some(items),
    }
}

#[test]
fn whatever_the_bytes_are_they_are_stored_whole_or_not_at_all() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(Send).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let accepted = Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2_000)
    });
    runner.run(&nearly_json(), |bytes| {
        let fail = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
        let commits = disk.commits();
        match queue.submit_json("send", &bytes) {
            Ok(batch) => {
                batch.ends().map_err(|error| fail(&error))?;
                let typed = batch.typed::<Send>().map_err(|error| fail(&error))?;
                let sent = outputs(&typed).map_err(|error| fail(&error))?;
                prop_assert_eq!(Some(sent), parcels(&bytes));
                accepted.set(accepted.get() + 1);
            }
            Err(_) => {
                prop_assert_eq!(disk.commits(), commits);
                let good = parcels(&bytes).filter(|parcels| !parcels.is_empty());
                let doubled = bytes.windows(6).filter(|part| *part == b"\"body\"").count() > 1;
                prop_assert!(good.is_none_or(|p| p.iter().any(|p| p.grams == 0)) || doubled);
            }
        }
        Ok(())
    })?;
    assert!(accepted.get() > 100, "only {accepted:?} were accepted");
    assert_eq!(stored(&queue, "send"), accepted.get());
    bystander.assert_unchanged(&queue);
    Ok(())
}
