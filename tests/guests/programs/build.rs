//! Links the test guests with a layout of their own.

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=../support/link.ld");
    for argument in [
        &format!("-T{root}/../support/link.ld"),
        "--no-pie",
        "-zmax-page-size=4096",
        "-znognustack",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
