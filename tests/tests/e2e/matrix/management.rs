//! The management API: every path and method of its own document, by everybody who comes to the port.
//!
//! The requests are made from `openapi.json` as the server shows it, so that a new path is in by itself. First
//! come all who are to be refused, and nothing may have changed by that; then those who are to be let in, who
//! are answered by the operation itself, whatever it says to an example that may not fit.

use super::Findings;
use super::cast::{Manager, Session};
use ringfort_tests::harness::client::{Answer, Client, Request, Signing};
use ringfort_tests::harness::{SECRET_KEY, Server, Site, wait_until};
use serde_json::{Value, json};

/// What a caller shows.
#[derive(Debug, Clone)]
enum Proof {
    Nothing,
    /// The whole `Authorization` header.
    Header(String),
    /// A signature as S3 takes it.
    Signature(Signing),
    /// The cookie of a session of the console, and the token against requests of other pages.
    Session(String, Option<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Everything,
    Read,
    /// What they show is no key.
    Nothing,
    /// It is known who they are, and they may not.
    NothingKnown,
}

struct Caller {
    name: &'static str,
    proof: Proof,
    may: May,
}

/// A request of the document.
struct Asked {
    method: String,
    path: String,
    has_parameters: bool,
}

impl Asked {
    fn is_read(&self) -> bool {
        self.method == "GET"
    }
}

/// Every path with every method, with the document's examples for what varies.
fn requests(document: &Value) -> Vec<Asked> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let fill = |parameters: &Value, path: String| {
            let parameters = parameters.as_array().into_iter().flatten();
            parameters.fold(path, |path, parameter| {
                let name = parameter["name"].as_str().unwrap();
                let value = match &parameter["example"] {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    _ => "0123456789abcdef".to_owned(),
                };
                match parameter["in"].as_str() {
                    Some("path") => path.replace(&format!("{{{name}}}"), &value),
                    _ if parameter["required"] == true => {
                        let mark = if path.contains('?') { '&' } else { '?' };
                        format!("{path}{mark}{name}={value}")
                    }
                    _ => path,
                }
            })
        };
        let of_path = fill(&item["parameters"], path.clone());
        for method in ["get", "post", "put", "patch", "delete"] {
            let Some(operation) = item.get(method) else { continue };
            let target = fill(&operation["parameters"], of_path.clone());
            assert!(
                !target.contains('{'),
                "{target}: a parameter that the document does not describe"
            );
            all.push(Asked {
                method: method.to_uppercase(),
                has_parameters: target != *path,
                path: format!("/api/v1{target}"),
            });
        }
    }
    all
}

fn ask(client: &mut Client, asked: &Asked, proof: &Proof) -> Answer {
    let mut request = Request::new(&asked.method, &asked.path).signed_by(None);
    if !asked.is_read() {
        request = request.header("content-type", "application/json").body("{}");
    }
    client.call(&match proof {
        Proof::Nothing => request,
        Proof::Header(value) => request.header("authorization", value),
        Proof::Signature(signing) => request.signed_by(Some(signing.clone())),
        Proof::Session(cookie, token) => {
            let request = request.header("cookie", cookie);
            match token {
                Some(token) => request.header("x-ringfort-csrf", token),
                None => request,
            }
        }
    })
}

/// Everybody who comes, and what they may.
fn callers(server: &Server<'_>, manager: &mut Manager) -> Vec<Caller> {
    let john = manager.make("john-doe");
    let mut key = |order: Value| {
        let made = manager.expect(201, "POST", "api-keys", &order.to_string());
        (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
    };
    let (full, _) = key(json!({"name": "full", "rights": "full"}));
    let (reader, _) = key(json!({"name": "reader", "rights": "read-only"}));
    let (revoked, revoked_id) = key(json!({"name": "revoked", "rights": "full"}));
    let (expired, expired_id) = key(json!({"name": "expired", "rights": "full", "expires_in": 1}));
    manager.expect(200, "DELETE", &format!("api-keys/{revoked_id}"), "");
    wait_until("the key to end", || {
        manager.expect(200, "GET", &format!("api-keys/{expired_id}"), "")["is_expired"] == true
    });
    let root = Session::of(server.admin_listen, &Signing::default());
    let of_john = john.signing();
    let user = Session::of(server.admin_listen, &of_john);
    let reading = Session::new(server.admin_listen, &json!({ "api_key": reader }));
    let session = |it: &Session| Proof::Session(it.cookie.clone(), Some(it.token.clone()));
    let bearer = |key: &str| Proof::Header(format!("Bearer {key}"));
    let caller = |name, may, proof| Caller { name, proof, may };
    vec![
        caller("nobody", May::Nothing, Proof::Nothing),
        caller("an empty key", May::Nothing, bearer("")),
        caller("a wrong key", May::Nothing, bearer("test-kez")),
        caller("the key by another scheme", May::Nothing, Proof::Header("Basic test-key".into())),
        caller("the key alone", May::Nothing, Proof::Header("test-key".into())),
        caller("a revoked key", May::Nothing, bearer(&revoked)),
        caller("an expired key", May::Nothing, bearer(&expired)),
        caller("root's secret as a key", May::Nothing, bearer(SECRET_KEY)),
        caller("a user's secret as a key", May::Nothing, bearer(&of_john.secret_key)),
        caller("root's signature", May::Nothing, Proof::Signature(Signing::default())),
        caller("a user's signature", May::Nothing, Proof::Signature(of_john)),
        caller(
            "a session that never was",
            May::Nothing,
            Proof::Session(format!("ringfort-session={:064}", 7), Some("0".repeat(64))),
        ),
        caller(
            "root's session without its token",
            May::Read,
            Proof::Session(root.cookie.clone(), None),
        ),
        caller(
            "root's session with another's token",
            May::Read,
            Proof::Session(root.cookie.clone(), Some(user.token.clone())),
        ),
        caller("a user's session", May::NothingKnown, session(&user)),
        caller("the session of a key that may read", May::Read, session(&reading)),
        caller("a key that may read", May::Read, bearer(&reader)),
        caller("a full key", May::Everything, bearer(&full)),
        caller("root's session", May::Everything, session(&root)),
        caller("the configured key", May::Everything, bearer("test-key")),
    ]
}

/// What there is, as far as requests do not change it by looking.
fn look(client: &mut Client, all: &[Asked]) -> Vec<String> {
    const MOVING: [&str; 4] = ["/latency", "/shards", "/api-keys", "/scrub"];
    let key = Proof::Header("Bearer test-key".into());
    let reads = all.iter().filter(|asked| asked.is_read());
    reads
        .filter(|asked| !MOVING.iter().any(|end| asked.path.ends_with(end)))
        .map(|asked| format!("{}: {}", asked.path, ask(client, asked, &key).text()))
        .collect()
}

/// What is wrong with an answer; nothing if it is as it should be.
fn judge(caller: &Caller, asked: &Asked, answer: &Answer) -> Option<String> {
    let is_in = !matches!(answer.status, 401 | 403 | 405) && answer.status < 500;
    let is_right = match caller.may {
        May::Everything => is_in,
        May::Read if asked.is_read() => is_in && (asked.has_parameters || answer.status == 200),
        May::Read | May::NothingKnown => answer.status == 403,
        May::Nothing => answer.status == 401,
    };
    // A refusal says what it is and nothing of what there is.
    let text = answer.text();
    let is_discreet = is_in
        || answer.header("content-type") == Some("application/problem+json")
            && !["john-doe", "my-bucket", "file.txt"].iter().any(|name| text.contains(name));
    (!is_right || !is_discreet).then(|| {
        format!("{} {} by {}: {} {text}", asked.method, asked.path, caller.name, answer.status)
    })
}

#[test]
fn every_path_of_the_management_api_by_everybody() {
    let site = Site::new();
    let server = site.start();
    let mut s3 = server.client();
    s3.put("/my-bucket", "").expect(200);
    s3.put("/my-bucket/file.txt", "bytes").expect(200);
    let mut manager = Manager::new(server.admin_listen);
    let callers = callers(&server, &mut manager);
    let all = requests(&manager.expect(200, "GET", "openapi.json", ""));
    let mut client = Client::new(server.admin_listen);
    let findings = Findings::default();
    let is_refused = |caller: &Caller, asked: &Asked| match caller.may {
        May::Everything => false,
        May::Read => !asked.is_read(),
        May::Nothing | May::NothingKnown => true,
    };
    let before = look(&mut client, &all);
    for refused in [true, false] {
        for asked in &all {
            for caller in callers.iter().filter(|caller| is_refused(caller, asked) == refused) {
                let answer = ask(&mut client, asked, &caller.proof);
                findings.check(judge(caller, asked, &answer));
            }
        }
        if refused {
            let after = look(&mut client, &all);
            let changed = before.iter().zip(&after).find(|(before, after)| before != after);
            findings.check(
                changed.map(|(before, after)| format!("refused, and yet\n  {before}\n  {after}")),
            );
        }
    }
    findings.conclude("the management API's matrix");
    server.stop();
}
