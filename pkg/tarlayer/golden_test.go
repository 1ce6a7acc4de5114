package tarlayer

// golden is what format 2 gives for sample.
const golden = `digest 75ab24cb6e9441b11a7428f44645ecf64ef65e07c8cb4071065e67750f3a826e
diffID 9984814ba023a7bb2dd78cb29be73dcf5df8b9c2ae9d21e36a68aa2467d12b51
2763364 of 8404480 bytes`

// goldenZstd is what format 2 gives for it with zstd.
const goldenZstd = `digest 250072f01d7c00afabf5dbf5f87910a596a741db6290ca232a7e91b0e643e338
diffID 9984814ba023a7bb2dd78cb29be73dcf5df8b9c2ae9d21e36a68aa2467d12b51
2718382 of 8404480 bytes`
