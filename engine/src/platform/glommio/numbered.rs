//! Things that the kernel refers to by a number.

/// Holds things by small numbers, which are given out again.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    things: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { things: Vec::new(), free: Vec::new() }
    }
}

impl<T> Numbered<T> {
    pub(super) fn insert(&mut self, thing: T) -> usize {
        let number = self.free.pop().unwrap_or(self.things.len());
        if number == self.things.len() {
            self.things.push(None);
        }
        self.things[number] = Some(thing);
        number
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.things.get_mut(number)?.as_mut()
    }

    pub(super) fn remove(&mut self, number: usize) -> Option<T> {
        let thing = self.things.get_mut(number)?.take()?;
        self.free.push(number);
        Some(thing)
    }

    pub(super) fn len(&self) -> usize {
        self.things.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_given_out_again() {
        let mut letters = Numbered::default();
        let (a, b) = (letters.insert('a'), letters.insert('b'));
        assert_eq!(letters.remove(a), Some('a'));
        assert_eq!((letters.remove(a), letters.remove(7)), (None, None));
        assert_eq!(letters.len(), 1);
        assert_eq!(letters.insert('c'), a);
        assert_ne!(letters.insert('d'), b);
        assert_eq!(letters.get_mut(a), Some(&mut 'c'));
        assert_eq!(letters.len(), 3);
    }
}
