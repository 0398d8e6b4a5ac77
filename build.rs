//! With the feature `torch`: lets the program find the libtorch that it was built against wherever it is started.

use std::env;

fn main() {
    for variable in ["LIBTORCH", "LIBTORCH_USE_PYTORCH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    // With a PyTorch's own libtorch, LIBTORCH names another one.
    if env::var_os("CARGO_FEATURE_TORCH").is_some()
        && env::var_os("LIBTORCH_USE_PYTORCH").is_none()
        && let Ok(folder) = env::var("LIBTORCH")
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}/lib");
    }
}
