pub(crate) struct SledStore;
