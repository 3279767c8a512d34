//! A receiver of events: an HTTP server of a few lines that can be told to fail.
//!
//! It keeps what it confirmed, in order, and stops when dropped.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use super::wait_until;

#[derive(Debug, Default)]
struct State {
    events: Mutex<Vec<Value>>,
    authorizations: Mutex<Vec<String>>,
    is_failing: AtomicBool,
    refused: AtomicU32,
    is_over: AtomicBool,
}

#[derive(Debug)]
pub struct Webhook {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl Webhook {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // Ends with its connection.
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// From now on, whether everything is answered with 500.
    pub fn fail(&self, is_failing: bool) {
        self.state.is_failing.store(is_failing, Ordering::SeqCst);
    }

    /// How many messages were answered with 500.
    pub fn refused(&self) -> u32 {
        self.state.refused.load(Ordering::SeqCst)
    }

    /// The values of `Authorization` that came.
    pub fn authorizations(&self) -> Vec<String> {
        self.state.authorizations.lock().unwrap().clone()
    }

    /// All messages that were confirmed.
    pub fn messages(&self) -> Vec<Value> {
        self.state.events.lock().unwrap().clone()
    }

    /// The records of all confirmed messages, test messages left out.
    pub fn records(&self) -> Vec<Value> {
        let messages = self.messages();
        messages
            .iter()
            .filter_map(|message| Some(message["Records"].as_array()?[0].clone()))
            .collect()
    }

    /// `(event, key)` of all records.
    pub fn told(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let pair =
            |record: &Value| (text(&record["eventName"]), text(&record["s3"]["object"]["key"]));
        self.records().iter().map(pair).collect()
    }

    /// Waits until an event of a key was told.
    pub fn wait_for(&self, event: &str, key: &str) {
        let wanted = (event.to_owned(), key.to_owned());
        wait_until(&format!("{event} of {key}"), || self.told().contains(&wanted));
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, state: &State) {
    let mut stream = BufReader::new(stream);
    while let Ok(Some((authorization, body))) = receive(&mut stream) {
        let is_failing = state.is_failing.load(Ordering::SeqCst);
        if is_failing {
            state.refused.fetch_add(1, Ordering::SeqCst);
        } else {
            state.events.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            state.authorizations.lock().unwrap().push(authorization);
        }
        let status = if is_failing { "500 Sorry" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// One request: its authorisation and its body.
fn receive(stream: &mut BufReader<TcpStream>) -> io::Result<Option<(String, Vec<u8>)>> {
    let (mut length, mut authorization) = (0, String::new());
    for number in 0.. {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if number == 0 {
            assert!(line.starts_with("POST /events "), "{line}");
        }
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => value.clone_into(&mut authorization),
            "content-type" => assert_eq!(value, "application/json"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some((authorization, body)))
}
