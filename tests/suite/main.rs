

mod customs;
mod store;
