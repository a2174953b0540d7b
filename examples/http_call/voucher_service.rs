//! A service with bad days, on a loopback port. It sends no voucher twice, because it remembers keys.

use crate::send_voucher::Voucher;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

pub(crate) struct VoucherService {
    address: SocketAddr,
    records: Arc<Mutex<Records>>,
}

/// What the service has seen and done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) requests: u32,
    pub(crate) connections_dropped: u32,
    pub(crate) answers_lost: u32,
    pub(crate) answered_busy: u32,
    pub(crate) keys_recognised: u32,
    pub(crate) vouchers_sent: u32,
}

#[derive(Default)]
struct Records {
    seen: Seen,
    requests_of: HashMap<String, u32>,
    number_of: HashMap<String, u32>,
}

/// What goes wrong with a request.
enum Trouble {
    /// The connection ends before anything is done.
    Dropped,
    /// All is done, and the answer is lost: nobody can tell from outside.
    AnswerLost,
    /// 503.
    Busy,
}

impl VoucherService {
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let records = Arc::<Mutex<Records>>::default();
        let service = Self {
            address,
            records: Arc::clone(&records),
        };
        // It ends with the program.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let records = Arc::clone(&records);
                // A client that went away is its own concern.
                thread::spawn(move || answer(&connection, &records).ok());
            }
        });
        Ok(service)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/vouchers", self.address)
    }

    pub(crate) fn seen(&self) -> Seen {
        lock(&self.records).seen.clone()
    }
}

/// One request and its answer. Dropping the connection without one is what a crashed server does.
fn answer(connection: &TcpStream, records: &Mutex<Records>) -> io::Result<()> {
    let (key, voucher) = read_request(connection)?;
    let mut records = lock(records);
    records.seen.requests += 1;
    match records.trouble(&key, &voucher) {
        Some(Trouble::Dropped) => {
            records.seen.connections_dropped += 1;
            Ok(())
        }
        Some(Trouble::AnswerLost) => {
            records.send_once(key);
            records.seen.answers_lost += 1;
            Ok(())
        }
        Some(Trouble::Busy) => {
            records.seen.answered_busy += 1;
            write_response(connection, "503 Service Unavailable", "")
        }
        None => {
            let number = records.send_once(key);
            write_response(connection, "200 OK", &number.to_string())
        }
    }
}

impl Records {
    /// The first requests of most customers fail, in one way after the other.
    fn trouble(&mut self, key: &str, voucher: &Voucher) -> Option<Trouble> {
        let requests = self.requests_of.entry(key.to_owned()).or_default();
        *requests += 1;
        if *requests > voucher.customer % 4 {
            return None;
        }
        Some(match *requests {
            1 => Trouble::Dropped,
            2 => Trouble::AnswerLost,
            _ => Trouble::Busy,
        })
    }

    /// Sends a voucher, unless this key has one; its number either way.
    fn send_once(&mut self, key: String) -> u32 {
        if let Some(number) = self.number_of.get(&key) {
            self.seen.keys_recognised += 1;
            return *number;
        }
        self.seen.vouchers_sent += 1;
        let number = 1_000 + self.seen.vouchers_sent;
        self.number_of.insert(key, number);
        number
    }
}

/// The idempotency key and the voucher of a request.
fn read_request(connection: &TcpStream) -> io::Result<(String, Voucher)> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut reader = BufReader::new(connection);
    let (mut key, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let key = key.ok_or_else(|| invalid("no idempotency key"))?;
    Ok((key, serde_json::from_slice(&body)?))
}

fn write_response(mut connection: &TcpStream, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn lock(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}
