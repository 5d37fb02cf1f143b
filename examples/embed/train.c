/* Training in C: reads images with their digits from a file, 64 grey levels from 0 to 16 and a digit a line, and learns them.

       ranvier compile digits.nn -o build --train
       cc -O2 -Ibuild train.c build/digits.o -o train

   The rows of examples/data/digits.npz as such a file:

       python -c "import numpy as n; d = n.load('digits.npz'); n.savetxt('digits.txt', n.c_[d['image'].reshape(-1, 64), d['digit']], '%d')"

   Then `./train digits.txt 20 digits.state` trains for 20 epochs, shows the share of right answers among a fifth of the rows, which it does
   not learn from, and keeps the state of training: the next call goes on from there. */

#include <stdio.h>
#include <stdlib.h>

#include "digits.h"

typedef struct {
    uint8_t image[DIGITS_IMAGE_ELEMENTS];
    int32_t digit;
} row;

static row *rows;
static size_t count;
static uint8_t images[DIGITS_CAPACITY][DIGITS_IMAGE_ELEMENTS];
static int32_t digits[DIGITS_CAPACITY];
static float chances[DIGITS_CAPACITY][DIGITS_PREDICTION_ELEMENTS];

static void check(int32_t code) {
    if (code == DIGITS_OK) return;
    fprintf(stderr, "%s\n", digits_error_text(code));
    exit(1);
}

static int read_row(FILE *file, row *to) {
    for (size_t n = 0; n < DIGITS_IMAGE_ELEMENTS; n++)
        if (fscanf(file, "%hhu", &to->image[n]) != 1) return 0;
    return fscanf(file, "%d", &to->digit) == 1;
}

static void read_rows(const char *path) {
    FILE *file = fopen(path, "r");
    row next;
    while (file != NULL && read_row(file, &next)) {
        rows = (row *)realloc(rows, (count + 1) * sizeof(row));
        if (rows == NULL) exit(1);
        rows[count++] = next;
    }
    if (count < 5) {
        fprintf(stderr, "%s: there are not enough rows\n", path);
        exit(1);
    }
    fclose(file);
}

/* Puts rows into a batch, from row number `first` on and before row number `end`; returns how many. */
static size_t gather(size_t first, size_t end) {
    size_t n = 0;
    for (; n < DIGITS_CAPACITY && first + n < end; n++) {
        for (size_t k = 0; k < DIGITS_IMAGE_ELEMENTS; k++) images[n][k] = rows[first + n].image[k];
        digits[n] = rows[first + n].digit;
    }
    return n;
}

/* An order by chance, the same in every run (Fisher and Yates 1938; the generator is that of Knuth's MMIX). */
static void shuffle(size_t end) {
    static uint64_t state = 1;
    for (size_t n = end; n > 1; n--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t other = (size_t)(state >> 33) % n;
        row kept = rows[n - 1];
        rows[n - 1] = rows[other];
        rows[other] = kept;
    }
}

static double one_epoch(digits_context *context, size_t end) {
    double sum = 0, loss;
    for (size_t first = 0, n; (n = gather(first, end)) > 0; first += n) {
        check(digits_train_step(context, n, images[0], n * sizeof images[0], digits, n * sizeof digits[0], &loss));
        sum += loss * (double)n;
    }
    return sum / (double)end;
}

static double share_of_right_answers(digits_context *context, size_t from) {
    size_t right = 0;
    for (size_t first = from, n; (n = gather(first, count)) > 0; first += n) {
        check(digits_predict(context, n, images[0], n * sizeof images[0], chances[0], n * sizeof chances[0]));
        for (size_t k = 0; k < n; k++) {
            int best = 0;
            for (int digit = 1; digit < DIGITS_PREDICTION_ELEMENTS; digit++)
                if (chances[k][digit] > chances[k][best]) best = digit;
            right += best == digits[k];
        }
    }
    return (double)right / (double)(count - from);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: train ROWS EPOCHS STATE\n");
        return 2;
    }
    read_rows(argv[1]);
    shuffle(count); /* neighbours in the file may be alike */
    size_t bytes = DIGITS_WORKSPACE_BYTES(0), learned = count - count / 5;
    int epochs = atoi(argv[2]);
    void *workspace = malloc(bytes), *state = malloc(DIGITS_STATE_BYTES);
    if (state == NULL) return 1;
    digits_context *context;
    check(digits_init(workspace, bytes, 0, &context));

    FILE *file = fopen(argv[3], "rb");
    if (file != NULL) {
        check(digits_load_state(context, state, fread(state, 1, DIGITS_STATE_BYTES, file)));
        fclose(file);
    } else { /* a schedule of the learning rate wants to know how many steps there will be */
        check(digits_set_scalar(context, DIGITS_STEPS, epochs * (double)((learned + DIGITS_CAPACITY - 1) / DIGITS_CAPACITY)));
    }
    for (int epoch = 1; epoch <= epochs; epoch++) {
        shuffle(learned);
        double loss = one_epoch(context, learned);
        printf("epoch %d: loss %.4f, held out %.4f\n", epoch, loss, share_of_right_answers(context, learned));
    }

    check(digits_save_state(context, state, DIGITS_STATE_BYTES));
    file = fopen(argv[3], "wb");
    if (file == NULL || fwrite(state, 1, DIGITS_STATE_BYTES, file) != DIGITS_STATE_BYTES || fclose(file) != 0) return 1;
    free(workspace);
    free(state);
    free(rows);
    return 0;
}
