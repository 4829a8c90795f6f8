package trace

// KeyOfSuffixSQL finds the event of a suffix that has no instance.
const KeyOfSuffixSQL = keyOfSuffixSQL
