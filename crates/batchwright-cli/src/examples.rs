//! What `--help` shows below the options of each command.

/// The codes are in `error.rs`.
pub(crate) const PROGRAM: &str = "\
Examples:
  batchwright demo                              all operations on made-up data
  batchwright run cashback purchases.csv        award points, once, however often it is run
  batchwright balance customer-17               what a customer has
  batchwright run redeem redeem.jsonl --errors failed.jsonl
  batchwright status                            what is unfinished, what came last

Exit codes:
  0    nothing failed
  1    the store failed or is damaged, or a file could not be written
  2    wrong usage
  3    refused: bad input, or something that is not there; nothing was stored
  4    items failed or were not run, or an audit found differences
  5    another process has the store
  6    verify found something wrong, or salvage could not copy everything
  130  ended by Ctrl-C or SIGTERM; the same command goes on";

pub(crate) const RUN: &str = "\
The whole file is checked before anything is stored: every item that is not acceptable is listed with its line, and \
the command ends with 3. A file is known by its content: the same file again goes on where it was interrupted, or \
changes nothing. An item whose transaction id was used before for the same content counts as already done, not as \
failed. Ctrl-C ends cleanly; a second one at once.

Examples:
  batchwright run customers customers.csv
  batchwright run cashback purchases.jsonl --errors failed.jsonl
  batchwright run balance-adjustment bonus.json --label 'spring bonus' --store /var/lib/points
  batchwright run cashback purchases.csv --program program.toml --json

A CSV file has the fields' names in its first line, with dots for those inside others:
  customerId,transactionId,transactionTime,amount,configurations.returnWindow
  ada,order-1,2025-03-14T10:00:00Z,150.75,14

A line of the file that --errors writes:
  {\"index\":7,\"line\":9,\"code\":\"9008\",\"message\":\"..\",\"field\":\"points\",\"item\":{..}}";

pub(crate) const STATUS: &str = "\
Examples:
  batchwright status
  batchwright status 17
  batchwright status 17 --json                  one JSON document, times in UTC";

pub(crate) const LIST: &str = "\
Examples:
  batchwright list
  batchwright list --state stopped
  batchwright list --operation cashback --limit 50 --below 1200
  batchwright list --json                       a JSON document a line";

pub(crate) const OUTCOMES: &str = "\
Examples:
  batchwright outcomes 17
  batchwright outcomes 17 --failed
  batchwright outcomes 17 --format csv > outcomes.csv
  batchwright outcomes 17 --json | jq -c 'select(.failure.code == \"9008\")'";

pub(crate) const STOP: &str = "\
No item runs meanwhile, so the batch is stopped when the command returns. Stopping a batch that has ended changes \
nothing. A batch that another process works is stopped there: with Ctrl-C, which keeps it queued.

Example:
  batchwright stop 17";

pub(crate) const RESUME: &str = "\
Other unfinished batches of the store go on meanwhile. Ctrl-C ends cleanly; the same command goes on.

Example:
  batchwright resume 17";

pub(crate) const RETRY: &str = "\
An item is run again by one batch only: the same command again shows, or goes on with, the batch that runs the failed \
items of this one.

Example:
  batchwright retry 17";

pub(crate) const RESOLVE: &str = "\
After a salvage the items whose outcomes were lost are in doubt: they may have run. Find out, and say so, once.

Examples:
  batchwright resolve 17 3 --succeeded '{\"transactionId\":\"order-1\"}'
  batchwright resolve 17 3 --failed not_done --message \"no entry in the history\"";

pub(crate) const BALANCE: &str = "\
Examples:
  batchwright balance ada
  batchwright balance ada --program program.toml --json";

pub(crate) const HISTORY: &str = "\
Examples:
  batchwright history ada
  batchwright history ada --limit 5
  batchwright history ada --json                every entry, a JSON document a line";

pub(crate) const AUDIT: &str = "\
Exit code 4 when something does not add up.

Examples:
  batchwright audit
  batchwright audit --json";

pub(crate) const VERIFY: &str = "\
Works on a copy beside the store's directory, which is removed at the end, and changes nothing in the store. Exit code \
6 when something is wrong. `salvage` copies what can be read of a store that is damaged.

Examples:
  batchwright verify
  batchwright verify --store /mnt/backup/points --json";

pub(crate) const BACKUP: &str = "\
The copy is a store of its own. No item runs meanwhile. A program that works a store makes backups of it itself, while \
it works.

Examples:
  batchwright backup /mnt/backup/points-2025-03-14
  batchwright verify --store /mnt/backup/points-2025-03-14";

pub(crate) const SALVAGE: &str = "\
The damaged store stays as it is. In the new one nothing runs by itself: batches that had not ended are stopped, and \
those of which something is missing are completed, with items in doubt where what became of them cannot be read. These \
may have run. Run `audit` on the new store before anything else. Exit code 6 when something is lost.

Examples:
  batchwright salvage ./batchwright-data ./salvaged
  batchwright salvage ./batchwright-data ./salvaged --json > lost.json
  batchwright audit --store ./salvaged";

pub(crate) const STATS: &str = "\
Examples:
  batchwright stats
  batchwright stats --json";

pub(crate) const PRUNE: &str = "\
Space of what is deleted is used again, not given back. A file whose batches were deleted still counts as imported, for 400 days. Stopped batches with items that did not run are kept.

Examples:
  batchwright prune --older-than 30d
  batchwright prune --older-than '1day 12h'";

pub(crate) const OPERATIONS: &str = "\
Needs no store. Fields with * are required. Names of the published batch API (balance-inquiry, balance-adjustment, \
orders/transactions) are accepted as well.

Examples:
  batchwright operations
  batchwright operations cashback --json";

pub(crate) const DEMO: &str = "\
Without --store it works in a temporary directory that is removed at the end. The data is always the same: in a store \
that has it, a second run changes nothing. Some of its redemptions are meant to fail.

Examples:
  batchwright demo
  batchwright demo --customers 10000 --store ./demo-data
  batchwright audit --store ./demo-data";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  batchwright completions bash > ~/.local/share/bash-completion/completions/batchwright
  batchwright completions fish > ~/.config/fish/completions/batchwright.fish";
