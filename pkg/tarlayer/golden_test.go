package tarlayer

// golden is what format 1 gives for sample.
const golden = `digest 4be90071781817ff8ca071c7c8fca3369edceabf6307451aaab4f394564a0ec0
diffID 9984814ba023a7bb2dd78cb29be73dcf5df8b9c2ae9d21e36a68aa2467d12b51
2756225 of 8404480 bytes`

// goldenZstd is what format 1 gives for it with zstd.
const goldenZstd = `digest 250072f01d7c00afabf5dbf5f87910a596a741db6290ca232a7e91b0e643e338
diffID 9984814ba023a7bb2dd78cb29be73dcf5df8b9c2ae9d21e36a68aa2467d12b51
2718382 of 8404480 bytes`
