mod customs;
mod store;
