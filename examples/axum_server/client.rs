//! What a client of the server would do.

use crate::Anything;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use ureq::Agent;

pub(crate) fn make_requests(server: SocketAddr) -> Result<(), Anything> {
    let client = Client::of(server);
    let texts = json!([{ "text": "one" }, { "text": "one two" }, { "text": "one two three" }]);

    let (status, batch) = client.submit("monday", &texts)?;
    assert_eq!((status, &batch["total"]), (201, &json!(3)));
    let (status, again) = client.submit("monday", &texts)?;
    assert_eq!((status, &again["id"]), (201, &batch["id"]), "not a new one");

    let id = &batch["id"];
    let (status, items) = client.look(&format!("/batches/{id}/outcomes"))?;
    assert_eq!(status, 200);
    assert_eq!(
        items[2],
        json!({ "index": 2, "output": 3, "failure": null })
    );
    let (_, ended) = client.look(&format!("/batches/{id}"))?;
    assert_eq!(ended["state"], "completed");

    let (status, refused) = client.submit("tuesday", &json!([{ "text": " " }]))?;
    assert_eq!(
        (status, &refused["items"][0]["failure"]["code"]),
        (422, &json!("empty"))
    );
    let (status, _) = client.look("/batches/999")?;
    assert_eq!(status, 404);
    Ok(())
}

struct Client {
    agent: Agent,
    server: SocketAddr,
}

impl Client {
    fn of(server: SocketAddr) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        Self {
            agent: config.into(),
            server,
        }
    }

    fn submit(&self, key: &str, texts: &Value) -> Result<(u16, Value), Anything> {
        let request = self.agent.post(format!("http://{}/batches", self.server));
        let response = request.header("Idempotency-Key", key).send_json(texts)?;
        read("POST /batches", response)
    }

    fn look(&self, path: &str) -> Result<(u16, Value), Anything> {
        let request = self.agent.get(format!("http://{}{path}", self.server));
        read(&format!("GET {path}"), request.call()?)
    }
}

fn read(
    request: &str,
    mut response: ureq::http::Response<ureq::Body>,
) -> Result<(u16, Value), Anything> {
    let status = response.status().as_u16();
    let body: Value = response.body_mut().read_json()?;
    println!("{request}: {status} {body}");
    Ok((status, body))
}
