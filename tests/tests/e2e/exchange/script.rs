//! The form in which exchanges with the server are written down, and its reader.
//!
//! ```text
//! @flag --region us-west-2        for the server, before the first example
//! @variable RINGFORT_X value      of its environment
//! @expect-log text                a line of its log at WARN or ERROR is part of what is walked
//! == S3 Copy Object               an example that the document itself shows
//! =+ S3 Copy Object, If-Match     what the document names without an example
//! @let name value                 a variable; it stands in braces wherever it is used
//! @as nobody                      who signs from here on: `root`, `nobody`, or `ACCESS_KEY SECRET_KEY`
//! @region eu-west-1               for which region the requests from here on are signed
//! @skew 3600                      by a clock that is so many seconds ahead
//! >>> PUT /{bucket}/key           a request: its line, headers, an empty line, its body
//! x-amz-meta-a: 1
//!
//! the body
//! <<< 200                         what must come back; no such line: a status of 2xx
//! ETag: *                         `*`: anything but nothing; `!`: not there; `{=name}`: kept as a variable
//! x-amz-meta-a: 1
//!
//! the body                        XML and JSON: at least what is shown here; `!text`: this is not in it
//! # a comment
//! ```
//!
//! Directives in front of a request: `@body BYTES` (a body of so many bytes), `@repeat TIMES TEXT` (`{repeat}`
//! stands for so many copies of a text, in which `#` is the number of each), `@length BYTES` (what
//! `Content-Length` says), `@unsigned` (its payload is
//! not signed), `@presigned SECONDS` (signed in the query), `@form` (the body's lines `name=value` are sent
//! as a browser sends a form; a `policy` is signed), `@until` (asked again until the answer is the right
//! one). `>>> ADMIN GET /path` goes to the management port.
//!
//! Not here: what the exchanges mean (`walk`), how bodies are compared (`shape`).

/// A file of examples.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub flags: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub expected_log: Vec<String>,
    pub examples: Vec<Example>,
}

#[derive(Debug)]
pub(super) struct Example {
    pub title: String,
    /// The document shows this exchange; else it names only what is tried here.
    pub is_shown: bool,
    pub steps: Vec<Step>,
}

/// Settings, and the exchange that follows them; without a request they stand alone.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Of the request, in the file.
    pub line: usize,
    /// Names without `@`, and what follows them.
    pub directives: Vec<(String, String)>,
    pub request: String,
    pub answer: Option<String>,
}

/// What a line that is no mark belongs to.
enum Place {
    Nowhere,
    Request,
    Answer,
}

impl Script {
    /// Reads a script; what cannot be read is a mistake of ours and ends the test.
    pub(super) fn parse(text: &str) -> Self {
        let mut script = Self::default();
        let mut place = Place::Nowhere;
        let mut step = Step::default();
        for (line, number) in text.lines().zip(1..) {
            if line.starts_with("# ") || line == "#" {
                continue;
            }
            if let Some(flag) = line.strip_prefix("@flag ") {
                script.flags.extend(flag.split_whitespace().map(str::to_owned));
            } else if let Some((name, value)) =
                line.strip_prefix("@variable ").and_then(|pair| pair.split_once(' '))
            {
                script.environment.push((name.to_owned(), value.to_owned()));
            } else if let Some(text) = line.strip_prefix("@expect-log ") {
                script.expected_log.push(text.to_owned());
            } else if let Some(title) = line.strip_prefix("== ").or(line.strip_prefix("=+ ")) {
                script.end_step(&mut step);
                script.examples.push(Example {
                    title: title.trim().to_owned(),
                    is_shown: line.starts_with("=="),
                    steps: Vec::new(),
                });
                place = Place::Nowhere;
            } else if let Some(directive) = line.strip_prefix('@') {
                if !step.request.is_empty() {
                    script.end_step(&mut step);
                }
                let (name, value) = directive.split_once(' ').unwrap_or((directive, ""));
                step.directives.push((name.to_owned(), value.trim().to_owned()));
                place = Place::Nowhere;
            } else if let Some(request) = line.strip_prefix(">>> ") {
                if !step.request.is_empty() {
                    script.end_step(&mut step);
                }
                step.line = number;
                request.clone_into(&mut step.request);
                place = Place::Request;
            } else if let Some(status) = line.strip_prefix("<<< ") {
                assert!(step.answer.is_none(), "line {number}: an answer to nothing");
                step.answer = Some(status.to_owned());
                place = Place::Answer;
            } else {
                let text = match place {
                    Place::Request => &mut step.request,
                    Place::Answer => step.answer.as_mut().expect("an answer has begun"),
                    Place::Nowhere if line.trim().is_empty() => continue,
                    Place::Nowhere => panic!("line {number} belongs to nothing: {line}"),
                };
                text.push('\n');
                text.push_str(line);
            }
        }
        script.end_step(&mut step);
        script
    }

    fn end_step(&mut self, step: &mut Step) {
        let step = std::mem::take(step);
        if step.request.is_empty() && step.directives.is_empty() {
            return;
        }
        self.examples.last_mut().expect("an example has begun").steps.push(step);
    }
}

impl Step {
    pub(super) fn directive(&self, name: &str) -> Option<&str> {
        self.directives.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The first line, the headers and the body of a request or an answer; no body where no empty line is.
pub(super) fn parts(text: &str) -> (&str, Vec<(String, String)>, Option<&str>) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (head, body) = if let Some(body) = rest.strip_prefix('\n') {
        ("", Some(body))
    } else {
        rest.split_once("\n\n").map_or((rest, None), |(head, body)| (head, Some(body)))
    };
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line}"));
        (name.trim().to_owned(), value.trim().to_owned())
    };
    let headers = head.lines().filter(|line| !line.trim().is_empty()).map(header).collect();
    let body = body.map(|body| body.trim_end_matches('\n')).filter(|body| !body.is_empty());
    (first.trim(), headers, body)
}
