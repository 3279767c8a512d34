//! Website documents, and where their rules send requests.
#![allow(clippy::unwrap_used)]

use super::*;

const INDEX: &str = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>";

fn parse(inner: &str) -> Result<WebsiteConfiguration> {
    let document = format!("<WebsiteConfiguration>{inner}</WebsiteConfiguration>");
    WebsiteConfiguration::parse_document(document.as_bytes())
}

fn check(inner: &str, expected: Option<Code>) {
    let parsed = parse(inner);
    assert_eq!(parsed.as_ref().map_err(|error| error.code).err(), expected, "{inner}");
    if let Ok(parsed) = parsed {
        assert_eq!(WebsiteConfiguration::parse_document(&parsed.document()).unwrap(), parsed);
        let json = serde_json::to_vec(&parsed).unwrap();
        assert_eq!(serde_json::from_slice::<WebsiteConfiguration>(&json).unwrap(), parsed);
    }
}

/// A routing rule beside an index document.
fn check_rule(inner: &str, expected: Option<Code>) {
    let rules = format!("<RoutingRules><RoutingRule>{inner}</RoutingRule></RoutingRules>");
    check(&format!("{INDEX}{rules}"), expected);
}

#[test]
fn configurations() {
    check(INDEX, None);
    check(&format!("{INDEX}<ErrorDocument><Key>e/404.html</Key></ErrorDocument>"), None);
    let all = |inner: &str| format!("<RedirectAllRequestsTo>{inner}</RedirectAllRequestsTo>");
    let host = "<HostName>www.example.com</HostName>";
    check(&all(host), None);
    check(&all(&format!("{host}<Protocol>https</Protocol>")), None);
    check(&all(&format!("{host}<Protocol>ftp</Protocol>")), Some(Code::InvalidRequest));
    check(&all("<Protocol>https</Protocol>"), Some(Code::MalformedXML));
    check(&all("<HostName>a/b</HostName>"), Some(Code::MalformedXML));
    check(&format!("{INDEX}{}", all(host)), Some(Code::InvalidArgument));
    check("", Some(Code::InvalidArgument));
    check("<ErrorDocument><Key>e</Key></ErrorDocument>", Some(Code::InvalidArgument));
    let suffix = |text: &str| format!("<IndexDocument><Suffix>{text}</Suffix></IndexDocument>");
    check(&suffix("a/b"), Some(Code::InvalidArgument));
    check(&suffix(""), Some(Code::InvalidArgument));
    check("<IndexDocument/>", Some(Code::MalformedXML));
    check(&format!("{INDEX}<ErrorDocument/>"), Some(Code::MalformedXML));
    check(&format!("{INDEX}{INDEX}"), Some(Code::MalformedXML));
    check(&format!("{INDEX}<Other/>"), Some(Code::MalformedXML));
    check(&format!("{INDEX}<RoutingRules/>"), Some(Code::MalformedXML));
    let rules = |count| {
        let rule =
            "<RoutingRule><Redirect><ReplaceKeyWith>k</ReplaceKeyWith></Redirect></RoutingRule>";
        format!("{INDEX}<RoutingRules>{}</RoutingRules>", rule.repeat(count))
    };
    check(&rules(50), None);
    check(&rules(51), Some(Code::InvalidRequest));
    for document in ["", "<Website/>", "text"] {
        let error = WebsiteConfiguration::parse_document(document.as_bytes()).unwrap_err();
        assert_eq!(error.code, Code::MalformedXML);
    }
}

#[test]
fn rules() {
    let redirect = "<Redirect><HostName>h</HostName></Redirect>";
    let redirect_to = |inner: &str| format!("<Redirect>{inner}</Redirect>");
    let when = |inner: &str| format!("<Condition>{inner}</Condition>{redirect}");
    check_rule(redirect, None);
    check_rule(&when("<KeyPrefixEquals>docs/</KeyPrefixEquals>"), None);
    check_rule(&when("<KeyPrefixEquals/>"), None);
    let status =
        |text| format!("<HttpErrorCodeReturnedEquals>{text}</HttpErrorCodeReturnedEquals>");
    check_rule(&when(&status("404")), None);
    check_rule(&when(&status("399")), Some(Code::InvalidRequest));
    check_rule(&when(&status("all")), Some(Code::InvalidRequest));
    check_rule(&when(""), Some(Code::InvalidRequest));
    check_rule(&when("<Other/>"), Some(Code::MalformedXML));
    check_rule("", Some(Code::MalformedXML));
    check_rule("<Redirect/>", Some(Code::MalformedXML));
    check_rule(&redirect_to("<Protocol>gopher</Protocol>"), Some(Code::InvalidRequest));
    check_rule(&redirect_to("<HostName>a b</HostName>"), Some(Code::MalformedXML));
    check_rule(&redirect_to("<HttpRedirectCode>307</HttpRedirectCode>"), None);
    for code in ["300", "200", "400", "x"] {
        let code = format!("<HttpRedirectCode>{code}</HttpRedirectCode>");
        check_rule(&redirect_to(&code), Some(Code::InvalidRequest));
    }
    let both = "<ReplaceKeyPrefixWith>a</ReplaceKeyPrefixWith><ReplaceKeyWith>b</ReplaceKeyWith>";
    check_rule(&redirect_to(both), Some(Code::InvalidRequest));
    let long = format!("<ReplaceKeyWith>{}</ReplaceKeyWith>", "k".repeat(1025));
    check_rule(&redirect_to(&long), Some(Code::MalformedXML));
}

const ORIGIN: Origin<'_> = Origin { host: "site.web:80", is_secure: false };

fn pages() -> Pages {
    let rule = |inner: &str| format!("<RoutingRule>{inner}</RoutingRule>");
    let rules = [
        "<Condition><KeyPrefixEquals>docs/</KeyPrefixEquals></Condition>\
         <Redirect><ReplaceKeyPrefixWith>documents/</ReplaceKeyPrefixWith></Redirect>",
        "<Condition><HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals>\
         <KeyPrefixEquals>img/</KeyPrefixEquals></Condition><Redirect><Protocol>https</Protocol>\
         <HostName>cdn</HostName><HttpRedirectCode>302</HttpRedirectCode></Redirect>",
        "<Condition><HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals></Condition>\
         <Redirect><ReplaceKeyWith>app.html#/</ReplaceKeyWith></Redirect>",
    ];
    let rules: String = rules.iter().map(|inner| rule(inner)).collect();
    match parse(&format!("{INDEX}<RoutingRules>{rules}</RoutingRules>")).unwrap() {
        WebsiteConfiguration::Pages(pages) => pages,
        WebsiteConfiguration::RedirectAll(_) => unreachable!("it has an index"),
    }
}

fn check_redirect(found: Option<Redirection>, expected: Option<(u16, &str)>) {
    let found = found.as_ref().map(|found| (found.status, found.location.as_str()));
    assert_eq!(found, expected);
}

#[test]
fn the_first_rule_that_fits_redirects() {
    let pages = pages();
    let before = |key| pages.redirect(key, ORIGIN);
    check_redirect(before("docs/a b.html"), Some((301, "http://site.web:80/documents/a%20b.html")));
    check_redirect(before("img/x.png"), None);
    let failed = |key, status| pages.redirect_error(key, status, ORIGIN);
    check_redirect(failed("img/x.png", 404), Some((302, "https://cdn/img/x.png")));
    check_redirect(failed("img/x.png", 403), None);
    check_redirect(failed("other", 404), Some((301, "http://site.web:80/app.html#/")));
}

#[test]
fn all_requests_go_elsewhere_with_path_and_query() {
    let place = Place { host: "www.example.com".into(), protocol: None };
    let secure = Origin { is_secure: true, ..ORIGIN };
    check_redirect(
        Some(place.redirect("/a%20b?c=d", secure)),
        Some((301, "https://www.example.com/a%20b?c=d")),
    );
}

#[test]
fn directories_have_an_index() {
    let pages = pages();
    for (key, page) in [("", "index.html"), ("a/", "a/index.html"), ("a", "a"), ("a/b", "a/b")] {
        assert_eq!(pages.page(key), page);
    }
}
