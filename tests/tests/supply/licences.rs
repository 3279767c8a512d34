//! SPDX licence expressions: is one met by a list of licences?
//!
//! `OR` (and `/`, as older crates write it) is a choice, `AND` is not, and binds closer; parentheses go before both;
//! `A WITH B` is a licence of its own name. What cannot be read is not met.

/// Whether all that the expression asks for is on the list.
pub(crate) fn is_met(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allowed };
    reader.choice() == Some(true) && reader.words.is_empty()
}

struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a [&'a str],
}

impl Reader<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let is_next = self.words.first() == Some(&word);
        if is_next {
            self.words = &self.words[1..];
        }
        is_next
    }

    fn choice(&mut self) -> Option<bool> {
        let mut is_met = self.all()?;
        while self.next_is("OR") {
            is_met |= self.all()?;
        }
        Some(is_met)
    }

    fn all(&mut self) -> Option<bool> {
        let mut is_met = self.one()?;
        while self.next_is("AND") {
            is_met &= self.one()?;
        }
        Some(is_met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.next_is("(") {
            let is_met = self.choice()?;
            return self.next_is(")").then_some(is_met);
        }
        let (name, rest) = self.words.split_first()?;
        if ["OR", "AND", "WITH", ")"].contains(name) {
            return None;
        }
        self.words = rest;
        let mut name = (*name).to_owned();
        if self.next_is("WITH") {
            let (exception, rest) = self.words.split_first()?;
            self.words = rest;
            name = format!("{name} WITH {exception}");
        }
        Some(self.allowed.contains(&name.as_str()))
    }
}

#[test]
fn expressions_are_met_by_what_they_ask_for() {
    let check = |expression: &str, expected: bool| {
        assert_eq!(is_met(expression, &["MIT", "ISC"]), expected, "{expression}");
    };
    check("MIT", true);
    check("GPL-3.0", false);
    check("GPL-3.0 OR MIT", true);
    check("GPL-3.0/MIT", true);
    check("MIT AND GPL-3.0", false);
    check("GPL-3.0 OR MIT AND ISC", true);
    check("GPL-3.0 AND MIT OR ISC", true);
    check("(GPL-3.0 OR MIT) AND ISC", true);
    check("ISC AND (GPL-3.0 OR Apache-2.0)", false);
    check("MIT WITH Some-exception", false);
    check("GPL-3.0 WITH Some-exception OR MIT", true);
    for broken in ["", "MIT OR", "(MIT", "MIT)", "MIT ISC", "AND", "MIT WITH"] {
        check(broken, false);
    }
}
