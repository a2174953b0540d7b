//! Batches over HTTP with axum: submitting, looking, waiting, and an orderly end.
//!
//! ```text
//! cargo run --example axum_server             # makes a few requests to itself and ends
//! cargo run --example axum_server -- --serve  # serves until Ctrl-C
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what happened")]

mod client;
mod count_words;
mod routes;

use batchwright::Queue;
use count_words::CountWords;
use std::env;
use std::error::Error;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

type Anything = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Anything> {
    let dir = tempfile::tempdir()?;
    let queue = Queue::builder(dir.path()).register(CountWords).open()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    println!("serving on http://{address}");

    let (end, ended) = oneshot::channel::<()>();
    let client = if env::args().nth(1).as_deref() == Some("--serve") {
        println!("try: curl {address}/batches --json '[{{\"text\": \"two words\"}}]'");
        println!("     curl {address}/batches/1/outcomes");
        let mut end = Some(end);
        ctrlc::set_handler(move || drop(end.take()))?;
        None
    } else {
        Some(spawn_blocking(move || {
            let done = client::make_requests(address);
            drop(end);
            done
        }))
    };

    let server = axum::serve(listener, routes::router(queue.clone()));
    server
        .with_graceful_shutdown(async { ended.await.unwrap_or(()) })
        .await?;
    // No request is under way any more. What runs may end; the rest stays in the store.
    spawn_blocking(move || queue.shutdown(Duration::from_secs(30))).await??;
    println!("shut down");
    match client {
        Some(client) => client.await?,
        None => Ok(()),
    }
}
