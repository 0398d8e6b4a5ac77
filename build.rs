//! With the feature `torch`: lets the program find the libtorch that it was built against wherever it is started.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if env::var_os("CARGO_FEATURE_TORCH").is_some()
        && let Ok(folder) = env::var("LIBTORCH")
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}/lib");
    }
}
