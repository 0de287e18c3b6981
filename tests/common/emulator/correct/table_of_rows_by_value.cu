// The table of the rows' addresses goes to the kernel by value, in a struct.
struct Rows {
    float* row[4];
};
__global__ void kernel(Rows rows) { rows.row[blockIdx.x][threadIdx.x] = 0; }
int run() {
    Rows rows;
    for (float*& row : rows.row) row = numbers(8);
    return start(kernel, 4, 8, 0, rows);
}
