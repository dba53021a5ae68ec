//! temporary
use odin_sim::scenarios::{self, Scale};
use odin_sim::trace::Trace;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let scale = if a.get(3).is_some_and(|s| s == "short") {
        Scale::Short
    } else {
        Scale::Full
    };
    let seed = a[2].parse().unwrap();
    let trace = Trace::new(a.get(4).map(std::path::Path::new)).unwrap();
    let r = scenarios::find(&a[1])
        .unwrap()
        .run_traced(seed, scale, &trace);
    trace.finish().unwrap();
    print!("{r}");
    eprintln!("wall {:?}", r.wall);
}
