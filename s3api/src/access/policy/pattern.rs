//! Texts of policies with `*`, `?` and variables in them, and what they match.
//!
//! Invariants: a match takes at most the product of both lengths in steps, both of which are bounded: a pattern
//! is put together no further than the text is long, however often it names a long value; what a variable
//! stands for is text, whatever characters it has.
//!
//! Source: AWS, "IAM policy elements: Variables and tags"; "IAM JSON policy elements: Resource".

use super::Facts;
use super::key::Key;

/// One step of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Character(char),
    /// `?`
    One,
    /// `*`
    Many,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Tokens(Vec<Token>),
    /// `${key}`, or `${key, 'default'}`.
    Variable(Key, Option<String>),
}

/// How a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syntax {
    /// `*` and `?` stand for others.
    pub(super) wildcards: bool,
    /// `${...}` stands for something: not so in policies of the first version.
    pub(super) variables: bool,
    /// Upper and lower case are the same.
    pub(super) folded: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
    folded: bool,
}

impl Pattern {
    /// None if a variable is not known or not well formed.
    pub(super) fn parse(text: &str, syntax: Syntax) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if syntax.variables
                && let Some(behind) = rest.strip_prefix("${")
            {
                let (inside, behind) = behind.split_once('}')?;
                rest = behind;
                match inside {
                    "*" | "?" | "$" => tokens.extend(inside.chars().map(Token::Character)),
                    inside => {
                        pieces.push(Piece::Tokens(std::mem::take(&mut tokens)));
                        pieces.push(variable(inside)?);
                    }
                }
                continue;
            }
            rest = &rest[character.len_utf8()..];
            match character {
                '*' if syntax.wildcards => {
                    if tokens.last() != Some(&Token::Many) {
                        tokens.push(Token::Many);
                    }
                }
                '?' if syntax.wildcards => tokens.push(Token::One),
                other => fold(other, syntax.folded, &mut tokens),
            }
        }
        pieces.push(Piece::Tokens(tokens));
        Some(Self { pieces, folded: syntax.folded })
    }

    /// Whether the text is the whole of what is meant. A variable without a value matches nothing.
    pub(super) fn matches(&self, text: &str, facts: &dyn Facts) -> bool {
        let lower;
        let text = if self.folded {
            // Each character by itself, as those of the pattern are: of whole words a last sigma would
            // become another one.
            lower = text.chars().flat_map(char::to_lowercase).collect::<String>();
            &lower
        } else {
            text
        };
        if let [Piece::Tokens(tokens)] = self.pieces.as_slice() {
            return is_match(tokens, text);
        }
        let mut tokens = Vec::new();
        let mut characters = 0;
        for piece in &self.pieces {
            let before = tokens.len();
            match piece {
                Piece::Tokens(more) => tokens.extend_from_slice(more),
                Piece::Variable(key, default) => {
                    let values = facts.values(key);
                    let value = match (values.as_slice(), default) {
                        ([value], _) => value,
                        ([], Some(default)) => default,
                        _ => return false,
                    };
                    value.chars().for_each(|character| fold(character, self.folded, &mut tokens));
                }
            }
            // What is longer than the text without its `*` matches nothing. A short policy can name a
            // header of the request so often that all of it together would fill the memory.
            characters += tokens[before..].iter().filter(|token| **token != Token::Many).count();
            if characters > text.len() {
                return false;
            }
        }
        is_match(&tokens, text)
    }

    /// [`Self::matches`] for texts that hold no variables.
    pub(super) fn matches_plainly(&self, text: &str) -> bool {
        self.matches(text, &NoFacts)
    }

    /// Whether it matches one text only, which the policy itself names.
    pub(super) fn is_fixed(&self) -> bool {
        self.pieces.iter().all(|piece| match piece {
            Piece::Tokens(tokens) => tokens.iter().all(|t| matches!(t, Token::Character(_))),
            Piece::Variable(..) => false,
        })
    }

    /// Whether a key of whichever object may decide.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(key, _) => Some(key),
            Piece::Tokens(_) => None,
        })
    }
}

struct NoFacts;

impl Facts for NoFacts {
    fn values(&self, _: &Key) -> Vec<String> {
        Vec::new()
    }
}

fn fold(character: char, folded: bool, tokens: &mut Vec<Token>) {
    if folded {
        tokens.extend(character.to_lowercase().map(Token::Character));
    } else {
        tokens.push(Token::Character(character));
    }
}

fn variable(inside: &str) -> Option<Piece> {
    let (name, default) = match inside.split_once(',') {
        None => (inside, None),
        Some((name, default)) => {
            let default = default.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            (name, Some(default.to_owned()))
        }
    };
    let key = Key::parse(name.trim())?;
    (!key.is_many()).then_some(Piece::Variable(key, default))
}

/// The usual walk with one point to go back to: behind the last `*`.
fn is_match(tokens: &[Token], text: &str) -> bool {
    let mut token = 0;
    let mut at = 0;
    let mut back: Option<(usize, usize)> = None;
    loop {
        let character = text[at..].chars().next();
        match (tokens.get(token), character) {
            (Some(Token::Many), _) => {
                back = Some((token + 1, at));
                token += 1;
                continue;
            }
            (Some(Token::One), Some(found)) => {
                token += 1;
                at += found.len_utf8();
                continue;
            }
            (Some(Token::Character(wanted)), Some(found)) if *wanted == found => {
                token += 1;
                at += found.len_utf8();
                continue;
            }
            (None, None) => return true,
            // A later start of what is behind the last `*` would have less text still.
            (Some(_), None) => return false,
            _ => {}
        }
        // What did not fit may fit if the last `*` takes one character more.
        let Some((behind, from)) = back else { return false };
        let Some(skipped) = text[from..].chars().next() else { return false };
        back = Some((behind, from + skipped.len_utf8()));
        token = behind;
        at = from + skipped.len_utf8();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    const ALL: Syntax = Syntax { wildcards: true, variables: true, folded: false };

    struct User(Option<&'static str>);

    impl Facts for User {
        fn values(&self, key: &Key) -> Vec<String> {
            match key {
                Key::UserName => self.0.iter().map(|name| (*name).to_owned()).collect(),
                _ => Vec::new(),
            }
        }
    }

    fn check(pattern: &str, text: &str, expected: bool) {
        let pattern = Pattern::parse(pattern, ALL).unwrap();
        assert_eq!(pattern.matches(text, &User(Some("a*b"))), expected, "{pattern:?} {text}");
    }

    #[test]
    fn wildcards() {
        check("", "", true);
        check("", "a", false);
        check("*", "", true);
        check("*", "a/b", true);
        check("a*", "a", true);
        check("a*c", "abcbc", true);
        check("a*c", "abcb", false);
        check("a?c", "aüc", true);
        check("a?c", "ac", false);
        check("*/*.jpg", "x/y/z.jpg", true);
        check("*ab", "aaab", true);
        check("**a**", "bab", true);
        check("a**b?", "aXXbY", true);
        check("Abc", "abc", false);
        let hard = "*a".repeat(40);
        check(&hard, &"a".repeat(39), false);
        check(&hard, &"a".repeat(40), true);
    }

    #[test]
    fn variables() {
        check("home/${aws:username}/*", "home/a*b/x", true);
        check("home/${aws:username}/*", "home/aXb/x", false);
        check("${*}?${?}${$}", "*x?$", true);
        check("${aws:userid}", "", false);
        check("${aws:userid, 'nobody'}", "nobody", true);
        check("${aws:username, 'nobody'}", "a*b", true);
        let plain = Syntax { variables: false, ..ALL };
        assert!(Pattern::parse("${x}", plain).unwrap().matches_plainly("${x}"));
        for text in ["${", "${aws:username", "${unknown}", "${aws:username, x}"] {
            assert_eq!(Pattern::parse(text, ALL), None, "{text}");
        }
    }

    #[test]
    fn case_can_be_folded() {
        let pattern = Pattern::parse("s3:Get*", Syntax { folded: true, ..ALL }).unwrap();
        assert!(pattern.matches_plainly("S3:getobject"));
    }

    /// Seen when the reference of the policies' fuzz target was written: a sigma at the end of the request's text was folded to the form that it
    /// has at the end of words, that of the policy was not, and a denial did not hold.
    #[test]
    fn a_text_that_ends_with_a_sigma_is_itself_whatever_its_case() {
        let folded = Syntax { folded: true, ..ALL };
        for text in ["ΟΔΟΣ", "οδοσ", "ΟΔΟΣ/x", "İ"] {
            assert!(Pattern::parse(text, folded).unwrap().matches_plainly(text), "{text}");
        }
    }

    /// Seen when the policies' fuzz target was written: a policy of 20 KiB could name a header of 32 KiB more than a thousand
    /// times, and to compare it with a key of three characters all of that was put together.
    #[test]
    fn a_long_value_that_is_named_often_is_not_put_together() {
        struct Agent(std::cell::Cell<usize>);
        impl Facts for Agent {
            fn values(&self, _: &Key) -> Vec<String> {
                self.0.set(self.0.get() + 1);
                vec!["a".repeat(32 << 10)]
            }
        }
        let (agent, pattern) = (Agent(0.into()), "*${aws:UserAgent}".repeat(1000));
        assert!(!Pattern::parse(&pattern, ALL).unwrap().matches("b/k", &agent));
        assert_eq!(agent.0.get(), 1);
        let (text, twice) = ("a".repeat(64 << 10), "${aws:UserAgent}*".repeat(2));
        assert!(Pattern::parse(&twice, ALL).unwrap().matches(&text, &agent));
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_with_any_part_replaced(text in "[ab/ü]{0,12}", cut in 0..12usize) {
            let at = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
            let pattern = format!("{}*", &text[..at]);
            prop_assert!(Pattern::parse(&pattern, ALL).unwrap().matches_plainly(&text));
            let pattern = format!("*{}", &text[at..]);
            prop_assert!(Pattern::parse(&pattern, ALL).unwrap().matches_plainly(&text));
        }
    }
}
