//! The configuration: any text is run or refused in words that name file and line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringrelay::config::Config;

fuzz_target!(|text: &str| {
    match Config::parse(text, "f") {
        Ok(config) => {
            assert!(config.http.iter().all(|listener| !listener.outputs.is_empty()));
            assert!(config.udp.iter().all(|listener| !listener.outputs.is_empty()));
            assert!(!config.summary().to_string().is_empty());
        }
        Err(error) => {
            let words = error.to_string();
            assert!(!words.is_empty());
            assert!(words.lines().all(|line| line.starts_with("f:")));
        }
    }
});
