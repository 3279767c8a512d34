//! CORS documents, and what their rules say of requests.
#![allow(clippy::unwrap_used)]

use super::*;

const GET: &str = "<AllowedMethod>GET</AllowedMethod>";
const ANY: &str = "<AllowedOrigin>*</AllowedOrigin>";

fn parse(rules: &[String]) -> Result<CorsConfiguration> {
    let rules: String = rules.iter().map(|rule| format!("<CORSRule>{rule}</CORSRule>")).collect();
    let document = format!("<CORSConfiguration>{rules}</CORSConfiguration>");
    CorsConfiguration::parse_document(document.as_bytes())
}

/// A rule with these elements beside a method and an origin.
fn check(elements: &str, expected: Option<Code>) {
    let parsed = parse(&[format!("{GET}{ANY}{elements}")]);
    assert_eq!(parsed.map_err(|error| error.code).err(), expected, "{elements}");
}

#[test]
fn every_element_is_checked() {
    check("", None);
    check("<AllowedHeader>x-*</AllowedHeader><AllowedHeader>*</AllowedHeader>", None);
    check("<AllowedHeader>*-*</AllowedHeader>", Some(Code::InvalidRequest));
    check("<AllowedHeader/>", Some(Code::MalformedXML));
    check("<AllowedHeader>a b</AllowedHeader>", Some(Code::MalformedXML));
    check("<AllowedOrigin>http://*.a</AllowedOrigin>", None);
    check("<AllowedOrigin>http://*.*.a</AllowedOrigin>", Some(Code::InvalidRequest));
    check("<AllowedMethod>HEAD</AllowedMethod>", None);
    check("<AllowedMethod>get</AllowedMethod>", Some(Code::InvalidRequest));
    check("<AllowedMethod>PATCH</AllowedMethod>", Some(Code::InvalidRequest));
    check("<AllowedMethod>OPTIONS</AllowedMethod>", Some(Code::InvalidRequest));
    check("<ExposeHeader>ETag</ExposeHeader>", None);
    check("<ExposeHeader>x-*</ExposeHeader>", Some(Code::InvalidRequest));
    check("<MaxAgeSeconds>0</MaxAgeSeconds>", None);
    check("<MaxAgeSeconds>2147483648</MaxAgeSeconds>", Some(Code::MalformedXML));
    check("<MaxAgeSeconds>-1</MaxAgeSeconds>", Some(Code::MalformedXML));
    check(
        "<MaxAgeSeconds>1</MaxAgeSeconds><MaxAgeSeconds>1</MaxAgeSeconds>",
        Some(Code::MalformedXML),
    );
    check(&format!("<ID>{}</ID>", "ü".repeat(255)), None);
    check(&format!("<ID>{}</ID>", "i".repeat(256)), Some(Code::InvalidRequest));
    check("<ID>a</ID><ID>b</ID>", Some(Code::MalformedXML));
    check("<Unknown>1</Unknown>", Some(Code::MalformedXML));
    check("<ID><b/></ID>", Some(Code::MalformedXML));
}

#[test]
fn a_configuration_has_1_to_100_whole_rules() {
    let rule = format!("{GET}{ANY}");
    let code = |rules: &[String]| parse(rules).map_err(|error| error.code).err();
    assert_eq!(code(&vec![rule.clone(); 100]), None);
    assert_eq!(code(&vec![rule; 101]), Some(Code::InvalidRequest));
    assert_eq!(code(&[]), Some(Code::MalformedXML));
    assert_eq!(code(&[GET.into()]), Some(Code::MalformedXML));
    assert_eq!(code(&[ANY.into()]), Some(Code::MalformedXML));
    for document in ["", "<CORSRule/>", "<CORSConfiguration><Rule/></CORSConfiguration>"] {
        let error = CorsConfiguration::parse_document(document.as_bytes()).unwrap_err();
        assert_eq!(error.code, Code::MalformedXML, "{document}");
    }
}

#[test]
fn a_rule_allows_up_to_100_headers() {
    let headers = |count| "<AllowedHeader>x-amz-*</AllowedHeader>".repeat(count);
    check(&headers(CORS_ALLOWED_HEADERS_MAX), None);
    check(&headers(CORS_ALLOWED_HEADERS_MAX + 1), Some(Code::InvalidRequest));
}

fn configuration() -> CorsConfiguration {
    parse(&[
        "<ID>app</ID><AllowedHeader>content-*</AllowedHeader><AllowedHeader>X-Amz-Date</AllowedHeader>\
         <AllowedMethod>PUT</AllowedMethod><AllowedMethod>POST</AllowedMethod>\
         <AllowedOrigin>https://*.example.com</AllowedOrigin>\
         <AllowedOrigin>http://localhost:3000</AllowedOrigin><ExposeHeader>ETag</ExposeHeader>\
         <ExposeHeader>x-amz-request-id</ExposeHeader><MaxAgeSeconds>3000</MaxAgeSeconds>"
            .into(),
        "<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>".into(),
    ])
    .unwrap()
}

#[test]
fn what_is_stored_and_shown_is_what_was_given() {
    let configuration = configuration();
    let json = serde_json::to_vec(&configuration).unwrap();
    assert_eq!(serde_json::from_slice::<CorsConfiguration>(&json).unwrap(), configuration);
    let document = configuration.document();
    assert_eq!(CorsConfiguration::parse_document(&document).unwrap(), configuration);
}

fn check_preflight(
    origin: &str,
    method: &str,
    headers: Option<&str>,
    expected: Option<&[(&str, &str)]>,
) {
    let configuration = configuration();
    let found = configuration.preflight(&Preflight { origin, method, headers });
    let found: Option<Vec<(&str, &str)>> = found
        .as_ref()
        .map(|headers| headers.iter().map(|(name, value)| (*name, &**value)).collect());
    assert_eq!(found.as_deref(), expected, "{origin} {method} {headers:?}");
}

#[test]
fn preflights() {
    let granted = [
        ("Access-Control-Allow-Origin", "https://app.example.com"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Allow-Methods", "PUT, POST"),
        ("Access-Control-Expose-Headers", "ETag, x-amz-request-id"),
        ("Access-Control-Max-Age", "3000"),
        ("Access-Control-Allow-Headers", "content-type, x-amz-date"),
    ];
    let app = "https://app.example.com";
    check_preflight(app, "PUT", Some("Content-Type,x-amz-date"), Some(&granted));
    check_preflight(app, "PUT", Some(" , "), Some(&granted[..5]));
    check_preflight(app, "PUT", None, Some(&granted[..5]));
    check_preflight(app, "PUT", Some("authorization"), None);
    check_preflight(app, "DELETE", None, None);
    check_preflight("https://example.com", "PUT", None, None);
    check_preflight("http://app.example.com", "PUT", None, None);
    let anybody = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Methods", "GET")];
    check_preflight("http://elsewhere", "GET", None, Some(&anybody));
    check_preflight(app, "GET", None, Some(&anybody));
    check_preflight(app, "GET", Some("content-type"), None);
    let many = vec!["content-type"; CORS_REQUEST_HEADERS_MAX + 1].join(",");
    check_preflight(app, "PUT", Some(&many), None);
}

#[test]
fn an_actual_request_is_judged_by_origin_and_method() {
    let configuration = configuration();
    let origin = |origin, method| {
        let headers = configuration.actual(origin, method)?;
        headers.first().map(|(_, value)| value.to_string())
    };
    assert_eq!(origin("http://x", "GET").as_deref(), Some("*"));
    assert_eq!(origin("http://localhost:3000", "PUT").as_deref(), Some("http://localhost:3000"));
    assert_eq!(origin("http://x", "PUT"), None);
    assert_eq!(origin("http://x", "HEAD"), None);
}

#[test]
fn a_preflight_says_origin_and_method() {
    let parse = |headers: &[(&str, &'static str)]| {
        let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        Preflight::parse(header).map(|found| found.method).map_err(|error| error.message)
    };
    let method = ("access-control-request-method", "PUT");
    assert_eq!(parse(&[("origin", "http://a"), method]).unwrap(), "PUT");
    assert!(parse(&[method]).unwrap_err().contains("Origin request header needed"));
    assert!(parse(&[("origin", "http://a")]).unwrap_err().ends_with("null"));
    let lower = ("access-control-request-method", "put");
    assert!(parse(&[("origin", "http://a"), lower]).unwrap_err().ends_with("put"));
}

#[test]
fn headers_are_compared_whatever_their_case() {
    for (pattern, name, expected) in [
        ("*", "x", true),
        ("X-Amz-Date", "x-amz-date", true),
        ("X-Amz-Date", "x-amz-dat", false),
        ("X-*-Date", "x-amz-date", true),
        ("X-*-Date", "x-date", false),
        ("aB*Ba", "abba", true),
        ("aB*Ba", "aba", false),
        ("x-*", "y-a", false),
        ("*-A", "x-b", false),
        ("é*", "ü", false),
    ] {
        assert_eq!(HeaderPattern::of(pattern).matches(name), expected, "{pattern} {name}");
        assert_eq!(matches(&pattern.to_ascii_lowercase(), name), expected, "{pattern} {name}");
    }
}

#[test]
fn patterns() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("a*a", "a", false),
        ("a*a", "aa", true),
        ("*a", "ba", true),
        ("a*", "ab", true),
        ("a", "A", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}
