//! Texts of policies with `*`, `?` and variables in them, and what they match.
//!
//! Invariants: a match takes as many steps as pattern and text have bytes, or with `?` in a part between two `*`,
//! where that is much, a 64th of the product of their lengths; and no more memory than they together warrant:
//! both come from people who may not trust each other. What a variable stands for is text, whatever characters
//! it has.
//!
//! Source: AWS, "IAM policy elements: Variables and tags"; "IAM JSON policy elements: Resource".

use std::cell::OnceCell;
use std::collections::HashMap;

use super::evaluation::Evaluation;
use super::key::Key;
use memchr::memmem;

/// Up to so many comparisons a part of a pattern with `?` is looked for place by place.
const PLAIN_STEPS_MAX: usize = 1 << 16;
/// What it takes to look up a character for [`find_by_bits`].
const LOOKUP_STEPS: usize = 4;

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

/// What stands before, between or behind `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// With `?` among its tokens, and without `*`.
    Mask(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// At least one.
    Parts(Vec<Part>),
    /// With variables: the parts are known only with a request.
    Pieces(Vec<Piece>),
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

/// A text that is compared with patterns; it is folded once for all of them.
pub(super) struct Text<'a> {
    own: &'a str,
    folded: OnceCell<String>,
}

impl<'a> Text<'a> {
    pub(super) fn new(own: &'a str) -> Self {
        Self { own, folded: OnceCell::new() }
    }

    fn read(&self, folded: bool, evaluation: &Evaluation<'_>) -> &str {
        if !folded {
            return self.own;
        }
        self.folded.get_or_init(|| {
            evaluation.spend(self.own.len());
            // Each character by itself, as those of the pattern are: of whole words a last sigma would
            // become another one.
            self.own.chars().flat_map(char::to_lowercase).collect()
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    shape: Shape,
    folded: bool,
}

impl Pattern {
    /// None if a variable is not known or not well formed.
    pub(super) fn parse(text: &str, syntax: Syntax) -> Option<Self> {
        let pieces = read(text, syntax)?;
        let shape = match pieces.as_slice() {
            [Piece::Tokens(tokens)] => Shape::Parts(parts_of(tokens)),
            _ => Shape::Pieces(pieces),
        };
        Some(Self { shape, folded: syntax.folded })
    }

    /// Whether the text is the whole of what is meant. A variable without a value matches nothing, and
    /// neither does what there are no steps left for.
    pub(super) fn matches(&self, text: &Text<'_>, evaluation: &Evaluation<'_>) -> bool {
        if !evaluation.spend(1) {
            return false;
        }
        let text = text.read(self.folded, evaluation);
        match &self.shape {
            Shape::Parts(parts) => is_match(parts, text, evaluation),
            Shape::Pieces(pieces) => self
                .put_together(pieces, text.len(), evaluation)
                .is_some_and(|tokens| is_match(&parts_of(&tokens), text, evaluation)),
        }
    }

    /// [`Self::matches`] for texts that hold no variables.
    pub(super) fn matches_plainly(&self, text: &str) -> bool {
        self.matches(&Text::new(text), &Evaluation::without_request())
    }

    /// What it means for one request; none if it cannot match a text of so many bytes.
    fn put_together(
        &self,
        pieces: &[Piece],
        mut bytes: usize,
        evaluation: &Evaluation<'_>,
    ) -> Option<Vec<Token>> {
        let mut tokens = Vec::new();
        for piece in pieces {
            let from = tokens.len();
            match piece {
                Piece::Tokens(more) => tokens.extend_from_slice(more),
                Piece::Variable(key, default) => {
                    let values = evaluation.values(key);
                    let value = match (values.as_slice(), default) {
                        ([value], _) => value,
                        ([], Some(default)) => default,
                        _ => return None,
                    };
                    value.chars().for_each(|character| fold(character, self.folded, &mut tokens));
                }
            }
            // What is longer than the text without its `*` matches nothing. A short policy can name a
            // header of the request so often that all of it together would fill the memory.
            let more = &tokens[from..];
            if !evaluation.spend(more.len()) {
                return None;
            }
            bytes =
                bytes.checked_sub(more.iter().filter(|token| **token != Token::Many).count())?;
        }
        Some(tokens)
    }

    /// Whether it matches one text only, which the policy itself names.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(&self.shape, Shape::Parts(parts) if matches!(parts.as_slice(), [Part::Literal(_)]))
    }

    /// Whether a key of whichever object may decide.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        let pieces: &[Piece] = match &self.shape {
            Shape::Parts(_) => &[],
            Shape::Pieces(pieces) => pieces,
        };
        pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(key, _) => Some(key),
            Piece::Tokens(_) => None,
        })
    }
}

/// Tokens, and variables with tokens before, between and behind them.
fn read(text: &str, syntax: Syntax) -> Option<Vec<Piece>> {
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
    Some(pieces)
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

fn parts_of(tokens: &[Token]) -> Vec<Part> {
    tokens.split(|token| *token == Token::Many).map(Part::of).collect()
}

/// What stands before the first `*` begins the text, what stands behind the last ends it, and each part
/// between is found as early as it can be, which leaves most for the others.
fn is_match(parts: &[Part], text: &str, evaluation: &Evaluation<'_>) -> bool {
    let Some((first, others)) = parts.split_first() else { return false };
    let Some((last, middle)) = others.split_last() else { return first.is(text, evaluation) };
    let Some(rest) = first.behind(text, evaluation) else { return false };
    let Some(mut rest) = last.before(rest, evaluation) else { return false };
    middle.iter().all(|part| {
        let found = part.find(rest, evaluation);
        rest = found.unwrap_or_default();
        found.is_some()
    })
}

impl Part {
    fn of(tokens: &[Token]) -> Self {
        let character = |token: &Token| match token {
            Token::Character(character) => Some(*character),
            Token::One | Token::Many => None,
        };
        match tokens.iter().map(character).collect::<Option<String>>() {
            Some(text) => Self::Literal(text),
            None => Self::Mask(tokens.to_vec()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Literal(own) => own.len(),
            Self::Mask(tokens) => tokens.len(),
        }
    }

    /// Whether it is the whole text.
    fn is(&self, text: &str, evaluation: &Evaluation<'_>) -> bool {
        match self {
            Self::Literal(own) => {
                own.len() == text.len() && evaluation.spend(own.len()) && own == text
            }
            Self::Mask(_) => self.behind(text, evaluation) == Some(""),
        }
    }

    /// The rest of a text that begins so.
    fn behind<'t>(&self, text: &'t str, evaluation: &Evaluation<'_>) -> Option<&'t str> {
        if !evaluation.spend(self.len()) {
            return None;
        }
        match self {
            Self::Literal(own) => text.strip_prefix(own.as_str()),
            Self::Mask(tokens) => behind(tokens, text),
        }
    }

    /// The rest of a text that ends so.
    fn before<'t>(&self, text: &'t str, evaluation: &Evaluation<'_>) -> Option<&'t str> {
        if !evaluation.spend(self.len()) {
            return None;
        }
        match self {
            Self::Literal(own) => text.strip_suffix(own.as_str()),
            Self::Mask(tokens) => before(tokens, text),
        }
    }

    /// What is behind the first place where it fits.
    fn find<'t>(&self, text: &'t str, evaluation: &Evaluation<'_>) -> Option<&'t str> {
        if !evaluation.spend(1 + self.len()) {
            return None;
        }
        match self {
            Self::Literal(own) => {
                let start = memmem::find(text.as_bytes(), own.as_bytes());
                // It looks at many at once.
                evaluation.spend(start.unwrap_or(text.len()) / 8);
                text.get(start? + own.len()..)
            }
            Self::Mask(tokens) => find(tokens, text, evaluation),
        }
    }
}

fn fits(token: Token, character: char) -> bool {
    match token {
        Token::Character(wanted) => wanted == character,
        Token::One => true,
        Token::Many => false,
    }
}

/// How many tokens fit the beginning of a text, and what is behind it where all do.
fn fitting<'a>(part: &[Token], text: &'a str) -> (usize, &'a str) {
    let mut characters = text.chars();
    let count = part
        .iter()
        .take_while(|token| characters.next().is_some_and(|found| fits(**token, found)))
        .count();
    (count, characters.as_str())
}

/// The rest of a text that begins so.
fn behind<'a>(part: &[Token], text: &'a str) -> Option<&'a str> {
    let (count, rest) = fitting(part, text);
    (count == part.len()).then_some(rest)
}

/// The rest of a text that ends so.
fn before<'a>(part: &[Token], text: &'a str) -> Option<&'a str> {
    let mut characters = text.chars();
    part.iter()
        .rev()
        .all(|token| characters.next_back().is_some_and(|found| fits(*token, found)))
        .then_some(characters.as_str())
}

/// What is behind the first place where a part, without `*`, fits.
fn find<'a>(part: &[Token], text: &'a str, evaluation: &Evaluation<'_>) -> Option<&'a str> {
    if part.len() > text.len() {
        return None;
    }
    if part.len().saturating_mul(text.len()) <= PLAIN_STEPS_MAX {
        return find_plainly(part, text, evaluation);
    }
    let rows = (part.len() + text.len()).saturating_mul(part.len().div_ceil(64));
    let steps = rows.saturating_add(text.len().saturating_mul(LOOKUP_STEPS));
    if evaluation.spend(steps) { find_by_bits(part, text) } else { None }
}

fn find_plainly<'a>(part: &[Token], text: &'a str, evaluation: &Evaluation<'_>) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let (count, found) = fitting(part, rest);
        if !evaluation.spend(1 + count) {
            return None;
        }
        if count == part.len() {
            return Some(found);
        }
        let mut characters = rest.chars();
        characters.next()?;
        rest = characters.as_str();
    }
}

/// The same for what is long: 64 places at once (Baeza-Yates and Gonnet, "A new approach to text
/// searching", 1992). Bit N of `begun` says whether the last N + 1 characters fit as many tokens.
fn find_by_bits<'a>(part: &[Token], text: &'a str) -> Option<&'a str> {
    let words = part.len().div_ceil(64);
    let mut everywhere = vec![0u64; words];
    let mut places: HashMap<char, Vec<u64>> = HashMap::new();
    for (at, token) in part.iter().enumerate() {
        let row = match token {
            Token::Character(wanted) => places.entry(*wanted).or_insert_with(|| vec![0; words]),
            Token::One | Token::Many => &mut everywhere,
        };
        row[at / 64] |= 1 << (at % 64);
    }
    let nowhere = vec![0u64; words];
    let mut begun = vec![0u64; words];
    let Some(last) = part.len().checked_sub(1) else { return Some(text) };
    let mut characters = text.chars();
    while let Some(found) = characters.next() {
        let here = places.get(&found).unwrap_or(&nowhere);
        let mut carry = 1;
        for ((begun, here), everywhere) in begun.iter_mut().zip(here).zip(&everywhere) {
            let next = *begun << 1 | carry;
            carry = *begun >> 63;
            *begun = next & (here | everywhere);
        }
        if begun[last / 64] >> (last % 64) & 1 == 1 {
            return Some(characters.as_str());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Facts;
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

    fn matches(pattern: &str, text: &str, facts: &dyn Facts) -> bool {
        let evaluation = Evaluation::with_steps(facts, usize::MAX);
        Pattern::parse(pattern, ALL).unwrap().matches(&Text::new(text), &evaluation)
    }

    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(matches(pattern, text, &User(Some("a*b"))), expected, "{pattern} {text}");
    }

    fn tokens(text: &str, syntax: Syntax) -> Vec<Token> {
        match read(text, syntax).unwrap().swap_remove(0) {
            Piece::Tokens(tokens) => tokens,
            Piece::Variable(..) => unreachable!("tokens come first"),
        }
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

    /// The tokens of a pattern made a regular walk: try every length for each `*`.
    fn matches_slowly(tokens: &[Token], text: &[char]) -> bool {
        match (tokens.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some((Token::Many, more)), _) => {
                (0..=text.len()).any(|skipped| matches_slowly(more, &text[skipped..]))
            }
            (Some((token, more)), Some((found, rest))) => {
                fits(*token, *found) && matches_slowly(more, rest)
            }
            (Some(_), None) => false,
        }
    }

    /// One GET with a `User-Agent` of 30,000 letters kept a core busy for more than a second, where a
    /// bucket's policy compared it with a pattern of 15,000; and a thousand variables that each stand for
    /// that header made a pattern of 30 MB.
    #[test]
    fn long_patterns_and_long_texts_are_compared_in_bounded_time_and_memory() {
        let (pattern, text) = ("a".repeat(15_000), "a".repeat(30_000));
        check(&format!("*{pattern}b*"), &text, false);
        check(&format!("*{pattern}b*"), &format!("{text}b"), true);
        check(&format!("*{}b*", "?".repeat(15_000)), &text, false);
        check(&format!("*{}a*", "?".repeat(29_999)), &text, true);
        check(&format!("*{}a*", "?".repeat(30_000)), &text, false);
        check(&"${aws:username}".repeat(1300), &text, false);
        check(&"${aws:username}".repeat(1300), &"a*b".repeat(1300), true);
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
        assert!(!matches(&pattern, "b/k", &agent));
        assert_eq!(agent.0.get(), 1);
        let (text, twice) = ("a".repeat(64 << 10), "${aws:UserAgent}*".repeat(2));
        assert!(matches(&twice, &text, &agent));
    }

    #[test]
    fn steps_are_counted_by_what_is_looked_at() {
        let text = "a".repeat(30_000);
        let steps = |pattern: &str, text: &str| {
            let user = User(Some("bob"));
            let evaluation = Evaluation::with_steps(&user, usize::MAX);
            Pattern::parse(pattern, ALL).unwrap().matches(&Text::new(text), &evaluation);
            usize::MAX - evaluation.steps_left()
        };
        assert_eq!(steps("", &text), 1);
        assert_eq!(steps("abc", &text), 1);
        assert_eq!(steps("abc", "abd"), 4);
        assert_eq!(steps("abc*", &text), 4);
        assert_eq!(steps("*b*", &text), 30_000 / 8 + 3);
        assert_eq!(steps("*a*a*a*", &text), 7);
        assert_eq!(steps("${aws:username}", "bob"), 1 + 4 + 3 + 3);
        assert!(steps("*b?*", &text) <= 30_005);
        assert!(steps(&format!("*{}b*", "?".repeat(15_000)), &text) > 10_000_000);
    }

    #[test]
    fn what_there_are_no_steps_for_does_not_match() {
        let facts = User(None);
        for (pattern, text) in [("*b*", "aaab"), ("abcd", "abcd"), ("a*", "ab"), ("*?b*", "aaab")] {
            let pattern = Pattern::parse(pattern, ALL).unwrap();
            let needed = (1..).find(|steps| {
                let evaluation = Evaluation::with_steps(&facts, *steps);
                pattern.matches(&Text::new(text), &evaluation) && !evaluation.is_exhausted()
            });
            let evaluation = Evaluation::with_steps(&facts, needed.unwrap() - 1);
            pattern.matches(&Text::new(text), &evaluation);
            assert!(evaluation.is_exhausted(), "{pattern:?} {text}");
        }
    }

    proptest! {
        #[test]
        fn parts_are_found_where_a_slow_search_finds_them(pattern in "[ab?*ü]{0,14}", text in "[abü]{0,20}") {
            let tokens = tokens(&pattern, ALL);
            let characters: Vec<char> = text.chars().collect();
            let evaluation = Evaluation::without_request();
            let found = is_match(&parts_of(&tokens), &text, &evaluation);
            prop_assert_eq!(found, matches_slowly(&tokens, &characters));
            let part: Vec<Token> = tokens.into_iter().filter(|t| *t != Token::Many).collect();
            prop_assert_eq!(find_by_bits(&part, &text), find_plainly(&part, &text, &evaluation));
            prop_assert_eq!(Part::of(&part).find(&text, &evaluation), find_by_bits(&part, &text));
        }

        #[test]
        fn folded_texts_match_as_their_characters_folded_one_by_one(pattern in "[aAσςΣİiß*?]{0,8}", text in "[aAσςΣİiß]{0,10}") {
            let folded = Syntax { folded: true, ..ALL };
            let characters: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
            let expected = matches_slowly(&tokens(&pattern, folded), &characters);
            prop_assert_eq!(Pattern::parse(&pattern, folded).unwrap().matches_plainly(&text), expected);
        }

        #[test]
        fn long_parts_are_found_by_bits_as_place_by_place(part in "[ab?]{60,200}", text in "[ab]{0,400}", at in 0..400usize) {
            let tokens = tokens(&part, ALL);
            let at = at.min(text.len());
            let planted = format!("{}{}{}", &text[..at], part.replace('?', "b"), &text[at..]);
            for text in [&text, &planted] {
                let plain = find_plainly(&tokens, text, &Evaluation::without_request());
                prop_assert_eq!(find_by_bits(&tokens, text), plain);
            }
        }

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
