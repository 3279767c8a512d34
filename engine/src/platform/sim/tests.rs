//! What the simulated disk promises, and what it does not promise.
