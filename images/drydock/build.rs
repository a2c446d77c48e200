//! Links the image with the kernel's layout.

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=../../kernel/link.ld");
    for argument in [
        &format!("-T{root}/../../kernel/link.ld"),
        "--build-id=sha1",
        "--apply-dynamic-relocs",
        "-zmax-page-size=4096",
        "-znognustack",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
