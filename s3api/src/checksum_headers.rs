//! checksum_headers
