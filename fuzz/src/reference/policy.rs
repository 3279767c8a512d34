//! What a policy says of a request, by AWS's "Policy evaluation logic" and "IAM JSON policy elements", over parts that
//! were chosen and not read.

/// A request and what conditions may ask of it. Callers by number: nobody, Alice, Bob, root.
#[derive(Debug)]
pub struct Request {
    pub who: usize,
    pub action: &'static str,
    pub resource: String,
    pub agent: Option<String>,
    pub max_keys: Option<i64>,
    pub address: Option<[u8; 4]>,
}

#[derive(Debug)]
pub struct Statement {
    pub is_denial: bool,
    pub not_principal: bool,
    /// By number: everyone, Alice, Bob, the account.
    pub principals: Vec<u8>,
    pub not_action: bool,
    pub actions: Vec<String>,
    pub not_resource: bool,
    pub resources: Vec<String>,
    pub conditions: Vec<Condition>,
}

/// Of the user agent, the number of keys, the address.
#[derive(Debug)]
pub enum Condition {
    Text {
        value: String,
        like: bool,
        negated: bool,
        if_exists: bool,
    },
    /// Whatever the case.
    Folded {
        value: String,
        negated: bool,
        if_exists: bool,
    },
    Number {
        value: i64,
        negated: bool,
        if_exists: bool,
    },
    Address {
        value: [u8; 4],
        bits: u8,
        negated: bool,
        if_exists: bool,
    },
    Absent {
        expected: bool,
    },
}

/// True: allowed. False: denied. None: nothing is said.
pub fn judge(statements: &[Statement], request: &Request) -> Option<bool> {
    let applying: Vec<&Statement> =
        statements.iter().filter(|statement| applies(statement, request)).collect();
    if applying.iter().any(|statement| statement.is_denial) {
        return Some(false);
    }
    (!applying.is_empty()).then_some(true)
}

fn applies(statement: &Statement, request: &Request) -> bool {
    let denies_account = statement.is_denial && !statement.not_principal;
    let is_named = statement.principals.iter().any(|principal| match (principal, request.who) {
        (0, _) => true,
        (1, 1) | (2, 2) | (3, 3) => true,
        // What the account is denied its users are denied; what it is allowed is root's.
        (3, 1 | 2) => denies_account,
        _ => false,
    });
    let action = request.action.to_lowercase();
    let is_action =
        statement.actions.iter().any(|pattern| is_match(&pattern.to_lowercase(), &action));
    let is_resource =
        statement.resources.iter().any(|pattern| is_match(pattern, &request.resource));
    is_named != statement.not_principal
        && is_action != statement.not_action
        && is_resource != statement.not_resource
        // Of two conditions with the same operator and key the document holds the last one.
        && last_of_each(&statement.conditions).iter().all(|condition| holds(condition, request))
}

fn last_of_each(conditions: &[Condition]) -> Vec<&Condition> {
    let name = |condition: &Condition| match condition {
        Condition::Text { like, negated, if_exists, .. } => (*like as u8, *negated, *if_exists),
        Condition::Number { negated, if_exists, .. } => (2, *negated, *if_exists),
        Condition::Address { negated, if_exists, .. } => (3, *negated, *if_exists),
        Condition::Absent { .. } => (4, false, false),
        Condition::Folded { negated, if_exists, .. } => (5, *negated, *if_exists),
    };
    let is_last = |(position, condition): &(usize, &Condition)| {
        conditions[position + 1..].iter().all(|later| name(later) != name(condition))
    };
    conditions.iter().enumerate().filter(is_last).map(|(_, condition)| condition).collect()
}

fn holds(condition: &Condition, request: &Request) -> bool {
    let (is_match, negated, if_exists) = match condition {
        Condition::Absent { expected } => return request.agent.is_none() == *expected,
        Condition::Text { value, like, negated, if_exists } => {
            let test = |agent: &String| if *like { is_match(value, agent) } else { value == agent };
            (request.agent.as_ref().map(test), negated, if_exists)
        }
        Condition::Folded { value, negated, if_exists } => {
            let test = |agent: &String| fold(value) == fold(agent);
            (request.agent.as_ref().map(test), negated, if_exists)
        }
        Condition::Number { value, negated, if_exists } => {
            (request.max_keys.map(|number| number == *value), negated, if_exists)
        }
        Condition::Address { value, bits, negated, if_exists } => {
            let bit = |address: &[u8; 4], number: u8| {
                address[usize::from(number / 8)] >> (7 - number % 8) & 1
            };
            let test = |address: [u8; 4]| {
                (0..*bits).all(|number| bit(&address, number) == bit(value, number))
            };
            (request.address.map(test), negated, if_exists)
        }
    };
    match is_match {
        Some(is_match) => is_match != *negated,
        None => *if_exists || *negated,
    }
}

fn fold(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// A star stands for any text, a question mark for one character. A table of all beginnings.
pub fn is_match(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let mut matches = vec![vec![false; text.len() + 1]; pattern.len() + 1];
    matches[0][0] = true;
    for p in 0..pattern.len() {
        for t in 0..=text.len() {
            matches[p + 1][t] = match pattern[p] {
                '*' => matches[p][t] || (t > 0 && matches[p + 1][t - 1]),
                '?' => t > 0 && matches[p][t - 1],
                other => t > 0 && text[t - 1] == other && matches[p][t - 1],
            };
        }
    }
    matches[pattern.len()][text.len()]
}
