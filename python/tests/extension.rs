//! Has `cargo test` build the extension module, which the package's own tests in Python then load.

#[test]
fn the_module_was_built_beside_the_tests() {
    let name = match std::env::consts::OS {
        "windows" => "_migm.dll",
        "macos" => "lib_migm.dylib",
        _ => "lib_migm.so",
    };
    let program = std::env::current_exe().expect("this test has a place");
    let folder = program.parent().expect("a folder");
    assert!(folder.join(name).is_file(), "{}", folder.join(name).display());
}
