//! The routes, and how the queue's answers become HTTP's.
//!
//! Calls of the queue may wait for the disk, so they run on the blocking pool.

use crate::count_words::{CountWords, Text};
use axum::Router;
use axum::extract::{Json, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use batchwright::{
    Batch, BatchError, Failure, ItemOutcome, Queue, Status, SubmitError, SubmitOptions, WaitError,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

pub(crate) fn router(queue: Queue) -> Router {
    Router::new()
        .route("/batches", post(submit))
        .route("/batches/{id}", get(status))
        .route("/batches/{id}/outcomes", get(outcomes))
        .with_state(queue)
}

/// What a client is shown of a batch.
#[derive(Serialize)]
struct ShownBatch {
    id: u64,
    state: batchwright::State,
    total: u64,
    succeeded: u64,
    failed: u64,
}

/// What a client is shown of an item.
#[derive(Serialize)]
struct ShownItem {
    index: usize,
    output: Option<usize>,
    failure: Option<Failure>,
}

/// 201: the batch is durable. A client that repeats its request under the same `Idempotency-Key` is given the
/// batch from before.
async fn submit(
    State(queue): State<Queue>,
    headers: HeaderMap,
    Json(texts): Json<Vec<Text>>,
) -> Result<impl IntoResponse, Refusal> {
    let mut options = SubmitOptions::new();
    if let Some(key) = headers.get("idempotency-key") {
        options = options.idempotency_key(String::from_utf8_lossy(key.as_bytes()));
    }
    let status = blocking(move || {
        let batch = queue.submit_with::<CountWords>(texts, options)?;
        Ok(batch.status()?)
    })
    .await?;
    Ok((StatusCode::CREATED, Json(ShownBatch::from(status))))
}

async fn status(
    State(queue): State<Queue>,
    Path(id): Path<u64>,
) -> Result<Json<ShownBatch>, Refusal> {
    let status = blocking(move || Ok(queue.batch(id)?.status()?)).await?;
    Ok(Json(status.into()))
}

/// How long a request may wait for its batch. It is how long a shutdown waits for the request.
const PATIENCE: Duration = Duration::from_secs(10);

/// The outcomes of all items, as soon as there are all of them; 503 when that takes too long.
async fn outcomes(
    State(queue): State<Queue>,
    Path(id): Path<u64>,
) -> Result<Json<Vec<ShownItem>>, Refusal> {
    let batch: Batch<CountWords> = blocking(move || Ok(queue.batch(id)?.typed()?)).await?;
    // To wait takes no thread.
    let Ok(ended) = timeout(PATIENCE, &batch).await else {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(Refusal::new(status, &batch.status()?));
    };
    ended?;
    let items = blocking(move || {
        let items = batch.outcomes()?.map(|item| Ok(ShownItem::from(item?)));
        items.collect()
    });
    Ok(Json(items.await?))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Err(Refusal::new(status, &error))
    })
}

impl From<Status> for ShownBatch {
    fn from(status: Status) -> Self {
        Self {
            id: status.id.into(),
            state: status.state,
            total: status.total,
            succeeded: status.succeeded,
            failed: status.failed,
        }
    }
}

impl From<ItemOutcome<usize>> for ShownItem {
    fn from(item: ItemOutcome<usize>) -> Self {
        let failure = item.outcome.failure().cloned();
        Self {
            index: item.index,
            output: item.outcome.into_output(),
            failure,
        }
    }
}

/// An error as a response.
struct Refusal {
    status: StatusCode,
    body: Value,
}

impl Refusal {
    fn new(status: StatusCode, error: &impl ToString) -> Self {
        let body = json!({ "error": error.to_string() });
        Self { status, body }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        let status = match &error {
            SubmitError::KeyConflict { .. } => StatusCode::CONFLICT,
            // Unknown: it may be stored, and the same request with the same key finds out.
            SubmitError::Full { .. }
            | SubmitError::Failed { .. }
            | SubmitError::Unknown { .. }
            | SubmitError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let mut refusal = Self::new(status, &error);
        if let SubmitError::Invalid { items } = error {
            let items = items
                .iter()
                .map(|item| json!({ "index": item.index, "failure": item.failure }));
            refusal.body["items"] = items.collect();
        }
        refusal
    }
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Self {
        let status = match &error {
            BatchError::NotFound { .. } => StatusCode::NOT_FOUND,
            BatchError::Failed { .. } | BatchError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, &error)
    }
}

impl From<WaitError> for Refusal {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Batch(error) => error.into(),
            stuck => Self::new(StatusCode::CONFLICT, &stuck),
        }
    }
}
