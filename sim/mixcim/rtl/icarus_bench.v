// Replays recorded host accesses on the processor: writes, start, wait for the interrupt, reads with known answers.
// Prints "loaded", "done CYCLES" (from start to interrupt), then "equal" or "different". Drives on the falling edge,
// so that every handshake is decided by values that are stable at the rising one.
`timescale 1ns / 1ns
module icarus_bench;
  reg clk = 0, rst = 1;
  reg [31:0] awaddr = 0, wdata = 0, araddr = 0;
  reg awvalid = 0, wvalid = 0, arvalid = 0;
  wire awready, wready, bvalid, arready, rvalid, interrupt;
  wire [1:0] bresp, rresp;
  wire [31:0] rdata;
  reg [63:0] writes[0:`WRITES - 1];  // address, word
  reg [63:0] reads[0:`READS - 1];
  reg taken_address, taken_data, answered;
  reg [31:0] value;
  integer index, cycles, wrong;

  mixcim dut (
      .clk(clk), .rst(rst), .interrupt(interrupt),
      .s_axi_awaddr(awaddr), .s_axi_awprot(3'b0), .s_axi_awvalid(awvalid), .s_axi_awready(awready),
      .s_axi_wdata(wdata), .s_axi_wstrb(4'b1111), .s_axi_wvalid(wvalid), .s_axi_wready(wready),
      .s_axi_bresp(bresp), .s_axi_bvalid(bvalid), .s_axi_bready(1'b1),
      .s_axi_araddr(araddr), .s_axi_arprot(3'b0), .s_axi_arvalid(arvalid), .s_axi_arready(arready),
      .s_axi_rdata(rdata), .s_axi_rresp(rresp), .s_axi_rvalid(rvalid), .s_axi_rready(1'b1)
  );

  always #5 clk = ~clk;

  task write(input [63:0] access);
    begin
      {awaddr, wdata} = access;
      awvalid = 1;
      wvalid = 1;
      answered = 0;
      while (!answered) begin
        taken_address = awready;
        taken_data = wready;
        answered = bvalid;
        if (answered && bresp != 0) begin
          wrong = wrong + 1;
          $display("address %h: write refused", access[63:32]);
        end
        @(negedge clk);
        if (taken_address) awvalid = 0;
        if (taken_data) wvalid = 0;
      end
    end
  endtask

  task read(input [31:0] address);
    begin
      araddr = address;
      arvalid = 1;
      answered = 0;
      while (!answered) begin
        taken_address = arready;
        answered = rvalid;
        value = rdata;
        if (answered && rresp != 0) wrong = wrong + 1;
        @(negedge clk);
        if (taken_address) arvalid = 0;
      end
    end
  endtask

  initial begin
    $readmemh("writes.hex", writes);
    $readmemh("reads.hex", reads);
    wrong = 0;
    repeat (4) @(negedge clk);
    rst = 0;
    repeat (4) @(negedge clk);
    for (index = 0; index < `WRITES - 1; index = index + 1) write(writes[index]);
    $display("loaded");
    $fflush;
    write(writes[`WRITES - 1]);
    cycles = 0;
    while (!interrupt && cycles < 10000000) begin
      cycles = cycles + 1;
      @(negedge clk);
    end
    $display("done %0d", cycles);
    $fflush;
    for (index = 0; index < `READS; index = index + 1) begin
      read(reads[index][63:32]);
      if (value !== reads[index][31:0]) begin
        wrong = wrong + 1;
        $display("address %h: %h, not %h", reads[index][63:32], value, reads[index][31:0]);
      end
    end
    if (wrong == 0) $display("equal");
    else $display("different");
    $finish;
  end
endmodule
