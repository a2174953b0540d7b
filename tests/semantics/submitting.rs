//! Submitting by name, to closures, as JSON, and from handlers.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Mail, Tested, add, eventually, fresh, never, outcomes,
    outputs, queue_on, sum,
};
use batchwright::limits::{Limits, NAME_BYTES, PAYLOAD_BYTES};
use batchwright::{
    AtLeastOnce, BatchError, BatchFilter, Builder, Context, ExactlyOnce, Failure, InvalidItem,
    OpenError, Operation, Outcome, Position, Queue, SubmitError, SubmitOptions,
};
use proptest::prelude::*;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn stored(queue: &Queue, operation: &str) -> usize {
    queue
        .batches(BatchFilter::all().operation(operation))
        .count()
}

#[test]
fn one_type_under_two_names_is_two_operations() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register_as("plus one", Call::new(|n, _| Ok(n + 1)))
        .register_as("plus ten", Call::new(|n, _| Ok(n + 10)))
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let one = queue.submit_as::<Call>("plus one", [1, 2])?;
    let options = SubmitOptions::new().owner("ann");
    let ten = queue.submit_as_with::<Call>("plus ten", [1], options)?;
    one.ends()?;
    ten.ends()?;
    assert_eq!((outputs(&one)?, outputs(&ten)?), (vec![2, 3], vec![11]));
    assert_eq!(one.status()?.operation, "plus one");
    assert_eq!(ten.status()?.owner.as_deref(), Some("ann"));
    assert_eq!(outputs(&queue.batch(ten.id())?.typed::<Call>()?)?, [11]);
    let stats = queue.stats()?;
    let succeeded = |name: &str| {
        let operation = stats.operations.iter().find(|o| o.name == name);
        operation.map(|operation| operation.succeeded)
    };
    assert_eq!(
        (succeeded("plus one"), succeeded("plus ten")),
        (Some(2), Some(1))
    );

    let known = ["bystander", "plus one", "plus ten", "mail"].map(str::to_owned);
    let unknown = |name: &str| SubmitError::UnknownOperation {
        name: name.to_owned(),
        known: known.to_vec(),
    };
    let refused = queue.submit::<Call>([1]).map(|batch| batch.id());
    assert_eq!(refused, Err(unknown("call")));
    // There is one, and it is of another type.
    let refused = queue.submit_as::<Call>("mail", [1]).map(|batch| batch.id());
    assert_eq!(refused, Err(unknown("mail")));
    assert_eq!(stored(&queue, "mail"), 0);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Another type under the name of [`Call`].
struct NewCall;

impl Operation for NewCall {
    const NAME: &'static str = "call";
    type Item = u64;
    type Output = String;
    type Guarantee = AtLeastOnce;

    fn run(&self, n: u64, _: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
        Ok(n.to_string())
    }
}

#[test]
fn a_handle_is_typed_as_what_is_registered_or_by_name_where_nothing_is() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .register_as("other", Call::echo())
        .open_in_memory(&disk)?;
    let own = queue.submit::<Call>([1])?;
    let other = queue.submit_as::<Call>("other", [2])?;
    own.ends()?;
    other.ends()?;
    queue.shutdown(AMPLE)?;
    let wrong = |batch: &batchwright::Batch, found: &str, expected: &str| {
        Some(BatchError::WrongOperation {
            id: batch.id(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        })
    };

    let queue = queue_on(&clock).open_in_memory(&disk)?;
    let (own, other) = (queue.batch(own.id())?, queue.batch(other.id())?);
    assert_eq!(outputs(&own.typed::<Call>()?)?, [1]);
    assert_eq!(outputs(&other)?, [json!(2)]);
    assert_eq!(other.typed::<Call>().err(), wrong(&other, "other", "call"));
    queue.shutdown(AMPLE)?;

    let queue = queue_on(&clock).register(NewCall).open_in_memory(&disk)?;
    let own = queue.batch(own.id())?;
    assert!(own.typed::<NewCall>().is_ok());
    let expected = std::any::type_name::<Call>();
    assert_eq!(own.typed::<Call>().err(), wrong(&own, "call", expected));
    Ok(())
}

fn closures(builder: Builder) -> Builder {
    builder
        .register_fn(
            "shout",
            |text: String, cx: &mut Context<AtLeastOnce>| match text.as_str() {
                "panic" => panic!("as it was told"),
                "fail" => Err(Failure::permanent("told", "as it was told")),
                _ => Ok(format!("{} {}", text.to_uppercase(), cx.attempt())),
            },
        )
        .register_fn("sum", |n: u64, cx: &mut Context<ExactlyOnce>| {
            add(cx, "all", n)
        })
}

#[test]
fn closures_are_operations_of_either_guarantee() -> Tested {
    let (disk, clock) = fresh();
    let queue = closures(queue_on(&clock)).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let sums = queue.submit_named("sum", [1_u64, 2, 3])?;
    let shouts = queue.submit_named("shout", ["a", "panic", "fail"].map(str::to_owned))?;
    sums.ends()?;
    shouts.ends()?;
    assert_eq!(outputs(&sums)?, [json!(1), json!(3), json!(6)]);
    let ends: Vec<_> = outcomes(&shouts)?.into_iter().map(|o| o.outcome).collect();
    let codes: Vec<_> = ends
        .iter()
        .map(|end| end.failure().map(|f| &*f.code))
        .collect();
    assert_eq!(codes, [None, Some(Failure::PANICKED), Some("told")]);
    assert_eq!(ends[0], Outcome::Succeeded(json!("A 1")));
    disk.cut_power();
    let queue = closures(queue_on(&clock)).open_in_memory(&disk)?;
    assert_eq!(sum(&queue, "all")?, 6);
    assert_eq!(outputs(&queue.batch(sums.id())?)?.len(), 3);
    let key = || SubmitOptions::new().idempotency_key("k");
    let first = queue.submit_named_with("sum", [4_u64], key())?;
    first.ends()?;
    assert_eq!(
        queue.submit_named_with("sum", [4_u64], key())?.id(),
        first.id()
    );
    assert_eq!(sum(&queue, "all")?, 10);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn items_of_another_type_are_refused_with_both_types_before_any_is_drawn() -> Tested {
    let (disk, clock) = fresh();
    let queue = closures(queue_on(&clock))
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let commits = disk.commits();
    let drawn = AtomicUsize::new(0);
    let items = (0..3_u32).inspect(|_| {
        drawn.fetch_add(1, Ordering::Relaxed);
    });
    let refused = queue.submit_named("sum", items).map(|batch| batch.id());
    let wrong = SubmitError::WrongItemType {
        operation: "sum".to_owned(),
        expected: "u64",
        found: "u32",
    };
    assert_eq!(refused, Err(wrong));
    assert_eq!(drawn.load(Ordering::Relaxed), 0);
    let unknown = queue.submit_named("nothing", [1_u64]);
    assert!(
        matches!(unknown, Err(SubmitError::UnknownOperation { name, known })
        if name == "nothing" && known == ["bystander", "shout", "sum", "call"])
    );
    assert_eq!((disk.commits(), stored(&queue, "sum")), (commits, 0));
    // Of the right type they may go to any operation.
    let batch = queue.submit_named("call", [7_u64])?;
    batch.ends()?;
    assert_eq!(outputs(&batch.typed::<Call>()?)?, [7]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// [`Call`] under a name of its own, with old ones.
macro_rules! aliased {
    ($type:ident, $name:expr, $aliases:expr) => {
        struct $type;

        impl Operation for $type {
            const NAME: &'static str = $name;
            const ALIASES: &'static [&'static str] = $aliases;
            type Item = u64;
            type Output = u64;
            type Guarantee = AtLeastOnce;

            fn run(&self, n: u64, _: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
                Ok(n)
            }
        }
    };
}

aliased!(Renamed, "renamed", &["first name", "second name"]);
aliased!(AlsoSecond, "another", &["second name"]);
aliased!(Itself, "itself", &["itself"]);
aliased!(Nameless, "with a nameless past", &[""]);

#[test]
fn every_name_is_taken_once_and_within_the_limit() -> Tested {
    let (disk, clock) = fresh();
    let taken = |builder: Builder| match builder.open_in_memory(&disk) {
        Err(OpenError::DuplicateOperation { name }) => name,
        other => format!("{other:?}"),
    };
    let new = || queue_on(&clock).register(Renamed);
    assert_eq!(taken(new().register(AlsoSecond)), "second name");
    assert_eq!(taken(new().register_as("renamed", Call::echo())), "renamed");
    let by_alias = new().register_as("first name", Call::echo());
    assert_eq!(taken(by_alias), "first name");
    let before = queue_on(&clock).register_as("first name", Call::echo());
    assert_eq!(taken(before.register(Renamed)), "first name");
    assert_eq!(taken(queue_on(&clock).register(Itself)), "itself");
    let long = "n".repeat(NAME_BYTES + 1);
    for builder in [
        new().register_as("", Call::echo()),
        new().register_as(&*long, Call::echo()),
        new().register_fn("", |n: u64, _: &mut Context<AtLeastOnce>| Ok(n)),
        new().register(Nameless),
    ] {
        let opened = builder.open_in_memory(&disk);
        assert!(matches!(opened, Err(OpenError::InvalidConfig { .. })));
    }
    assert_eq!(disk.commits(), 0);
    // Under another name the old ones do not count.
    let queue = new()
        .register_as(&long[1..], AlsoSecond)
        .open_in_memory(&disk)?;
    queue.submit_as::<AlsoSecond>(&long[1..], [1])?.ends()?;
    Ok(())
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

/// Submits what it is given to [`Mail`], under its own key.
fn forwarding() -> Call {
    Call::new(|n, cx| {
        let queue = cx
            .queue()
            .ok_or_else(|| Failure::permanent("no_queue", "there is none"))?;
        let options = SubmitOptions::new().idempotency_key(cx.idempotency_key().to_string());
        let batch = queue.submit_with::<Mail>([n, n], options);
        let batch = batch.map_err(|error| Failure::permanent("refused", error.to_string()))?;
        Ok(u64::from(batch.id()))
    })
}

#[test]
fn a_handler_submits_further_batches() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(forwarding())
            .register(Mail::echo())
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([5, 6])?;
    assert_eq!(batch.ends()?.status.succeeded, 2);
    for (n, id) in [5, 6].into_iter().zip(outputs(&batch)?) {
        let follow_up = queue.batch(id)?.typed::<Mail>()?;
        follow_up.ends()?;
        assert_eq!(outputs(&follow_up)?, [n, n]);
    }
    assert_eq!(stored(&queue, "mail"), 2);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// It may run before `open` has returned.
#[test]
fn a_handler_of_a_batch_from_before_has_the_queue_from_its_first_line() -> Tested {
    for _ in 0..50 {
        let (disk, clock) = fresh();
        let door = Door::new();
        let at = door.clone();
        let waiting = Call::new(move |n, _| {
            at.pass();
            Ok(n)
        });
        let queue = queue_on(&clock).register(waiting).open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let id = queue.submit::<Call>([1])?.id();
        door.wait_for(1);
        disk.cut_power();
        door.open();
        let queue = queue_on(&clock)
            .register(forwarding())
            .register(Mail::echo())
            .open_in_memory(&disk)?;
        assert_eq!(queue.batch(id)?.ends()?.status.succeeded, 1);
        assert_eq!(stored(&queue, "mail"), 1);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn a_handler_has_no_queue_once_the_last_handle_is_dropped_or_the_queue_closes() -> Tested {
    for by_shutdown in [false, true] {
        let (disk, clock) = fresh();
        let (door, log) = (Door::new(), Log::new());
        let (at, seen) = (door.clone(), log.clone());
        let call = Call::new(move |n, cx| {
            seen.push(cx.queue().is_some());
            at.pass();
            seen.push(cx.queue().is_some());
            Ok(n)
        });
        let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let batch = queue.submit::<Call>([1])?;
        door.wait_for(1);
        let kept = by_shutdown.then(|| queue.clone());
        // Either waits for the handler.
        let closing = thread::spawn(move || match by_shutdown {
            true => queue.shutdown(AMPLE),
            false => {
                drop(queue);
                Ok(())
            }
        });
        eventually(|| batch.status() == Err(BatchError::Closed));
        door.open();
        closing.join().map_err(|_| "closing panicked")??;
        assert_eq!(log.entries(), [true, false]);
        drop(kept);
        let queue = queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)?;
        assert_eq!(queue.batch(batch.id())?.ends()?.status.succeeded, 1);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn a_handle_that_a_handler_holds_keeps_the_queue_open_until_it_lets_go() -> Tested {
    let (disk, clock) = fresh();
    let (holding, go_on) = (Door::new(), Door::new());
    let (held_at, go_at) = (holding.clone(), go_on.clone());
    let follow_up = Log::new();
    let submitted = follow_up.clone();
    let call = Call::new(move |n, cx| {
        let queue = cx
            .queue()
            .ok_or_else(|| Failure::permanent("no_queue", "there is none"))?;
        held_at.pass();
        go_at.pass();
        let batch = queue.submit::<Mail>([n]);
        submitted.push(batch.map(|batch| batch.id()));
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(call)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1])?;
    holding.open();
    go_on.wait_for(1);
    drop(queue);
    assert_eq!(batch.status()?.in_flight, 1);
    go_on.open();
    eventually(|| batch.status() == Err(BatchError::Closed));
    let mut opened = None;
    eventually(|| {
        let builder = queue_on(&clock)
            .register(Call::echo())
            .register(Mail::echo());
        opened = builder.open_in_memory(&disk).ok();
        opened.is_some()
    });
    let queue = opened.ok_or("not open")?;
    assert_eq!(queue.batch(batch.id())?.ends()?.status.succeeded, 1);
    let follow_up = follow_up.entries();
    let [Ok(follow_up)] = &follow_up[..] else {
        return Err(format!("{follow_up:?}").into());
    };
    assert_eq!(queue.batch(*follow_up)?.ends()?.status.succeeded, 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}
